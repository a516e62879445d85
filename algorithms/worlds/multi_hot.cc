#include "algorithms/worlds/multi_hot.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "algorithms/worlds/draws.h"
#include "algorithms/worlds/row_text.h"

namespace pagoda {
namespace {

constexpr int kFields = 5;
constexpr int kWideFields = 2;
constexpr int kPairs = 4;  // Of the 10 pairs of fields.
constexpr int64_t kUnitRows = 4096;

enum Stream : uint64_t { kLatent = 1, kEffect, kWide, kRow, kChoice };
enum Figure { kOracleAuc, kAdditiveAuc, kClickRate };

struct Row {
  std::array<std::vector<int64_t>, kFields> ids;
  std::array<int64_t, kWideFields> wide = {};
  double interaction = 0.0;
  double additive = 0.0;
  double probability = 0.0;
  bool click = false;
};

class MultiHot : public World {
 public:
  explicit MultiHot(const KnobValues& knobs);

  std::vector<WorldFile> files() const override;
  std::vector<FigureName> figures() const override;
  int64_t num_units() const override { return first_units_[3]; }
  void WriteUnit(int64_t unit, std::vector<std::string>* texts,
                 UnitFigures* figures) const override;
  WorldFacts Facts(const Figures& figures) const override;

 private:
  void ChooseFields();
  Row MakeRow(int file, int64_t number) const;
  // Mean latent vector of the ids of a field.
  std::vector<double> Pooled(int field, const std::vector<int64_t>& ids) const;
  double Products(const Row& row) const;
  double Effects(const Row& row) const;  // Of the null variant.

  RandomKey key_;
  bool null_;
  std::array<int64_t, 3> rows_;         // train, valid, test
  std::array<int64_t, 4> first_units_;  // Of each file; then their number.
  int64_t ids_, ids_min_, ids_max_, wide_ids_, latent_;
  double latent_spread_, wide_spread_, pair_weight_, triple_weight_, bias_, additive_spread_;
  WeightedDraw zipf_;
  std::vector<float> latents_;  // [field, id, latent]
  std::vector<float> effects_;  // [field, id], N(0, 1)
  std::vector<std::array<int, 2>> pairs_;
  std::array<int, 3> triple_;
};

std::vector<double> ZipfWeights(int64_t count, double exponent) {
  std::vector<double> weights;
  for (int64_t rank = 1; rank <= count; ++rank) {
    weights.push_back(std::pow(static_cast<double>(rank), -exponent));
  }
  return weights;
}

MultiHot::MultiHot(const KnobValues& knobs)
    : key_(RandomKey{knobs.seed()}.Derive(0x6d756c74)),
      null_(knobs.variant() == "null"),
      rows_{knobs.Whole("train_rows"), knobs.Whole("valid_rows"), knobs.Whole("test_rows")},
      first_units_{},
      ids_(knobs.Whole("ids")),
      ids_min_(knobs.Whole("ids_min")),
      ids_max_(knobs.Whole("ids_max")),
      wide_ids_(knobs.Whole("wide_ids")),
      latent_(knobs.Whole("latent")),
      latent_spread_(knobs.Real("latent_spread")),
      wide_spread_(knobs.Real("wide_spread")),
      pair_weight_(knobs.Real("pair_weight")),
      triple_weight_(knobs.Real("triple_weight")),
      bias_(knobs.Real("bias")),
      additive_spread_(knobs.Real("additive_spread")),
      zipf_(ZipfWeights(ids_, knobs.Real("zipf"))) {
  for (size_t file = 0; file < rows_.size(); ++file) {
    first_units_[file + 1] = first_units_[file] + (rows_[file] + kUnitRows - 1) / kUnitRows;
  }
  for (int64_t id = 0; id < kFields * ids_; ++id) {
    Draws draws(key_.Derive(kLatent).Derive(static_cast<uint64_t>(id)));
    for (int64_t k = 0; k < latent_; ++k) {
      latents_.push_back(static_cast<float>(latent_spread_ * draws.Normal()));
    }
    const RandomKey effect = key_.Derive(kEffect).Derive(static_cast<uint64_t>(id));
    effects_.push_back(static_cast<float>(NormalOf(effect)));
  }
  ChooseFields();
}

void MultiHot::ChooseFields() {
  std::vector<std::array<int, 2>> all;
  for (int a = 0; a < kFields; ++a) {
    for (int b = a + 1; b < kFields; ++b) all.push_back({a, b});
  }
  const Permutation order(key_.Derive(kChoice), static_cast<int64_t>(all.size()));
  for (int i = 0; i < kPairs; ++i) pairs_.push_back(all[static_cast<size_t>(order.At(i))]);
  std::sort(pairs_.begin(), pairs_.end());
  const Permutation fields(key_.Derive(kChoice).Derive(1), kFields);
  for (int i = 0; i < 3; ++i) triple_[static_cast<size_t>(i)] = static_cast<int>(fields.At(i));
  std::sort(triple_.begin(), triple_.end());
}

std::vector<WorldFile> MultiHot::files() const {
  const std::string columns = "f1,f2,f3,f4,f5,w1,w2,click";
  return {{"train.csv", columns},
          {"valid.csv", columns},
          {"test.csv", columns + ",oracle,interaction,additive"}};
}

std::vector<FigureName> MultiHot::figures() const {
  return {{"oracle_auc", FigureName::kAuc},
          {"additive_oracle_auc", FigureName::kAuc},
          {"click_rate", FigureName::kMean}};
}

std::vector<double> MultiHot::Pooled(int field, const std::vector<int64_t>& ids) const {
  std::vector<double> mean(static_cast<size_t>(latent_));
  for (const int64_t id : ids) {
    const float* z = &latents_[static_cast<size_t>((field * ids_ + id) * latent_)];
    for (size_t k = 0; k < mean.size(); ++k) mean[k] += z[k];
  }
  for (double& value : mean) value /= static_cast<double>(ids.size());
  return mean;
}

double MultiHot::Products(const Row& row) const {
  std::array<std::vector<double>, kFields> pooled;
  for (int f = 0; f < kFields; ++f) {
    pooled[static_cast<size_t>(f)] = Pooled(f, row.ids[static_cast<size_t>(f)]);
  }
  double pairs = 0.0;
  double triple = 0.0;
  for (size_t k = 0; k < static_cast<size_t>(latent_); ++k) {
    for (const auto& [a, b] : pairs_) {
      pairs += pooled[static_cast<size_t>(a)][k] * pooled[static_cast<size_t>(b)][k];
    }
    double product = 1.0;
    for (const int field : triple_) product *= pooled[static_cast<size_t>(field)][k];
    triple += product;
  }
  return pair_weight_ * pairs + triple_weight_ * triple;
}

double MultiHot::Effects(const Row& row) const {
  double sum = 0.0;
  for (size_t f = 0; f < kFields; ++f) {
    double field = 0.0;
    for (const int64_t id : row.ids[f]) {
      field += effects_[f * static_cast<size_t>(ids_) + static_cast<size_t>(id)];
    }
    sum += field / static_cast<double>(row.ids[f].size());
  }
  return additive_spread_ * sum;
}

Row MultiHot::MakeRow(int file, int64_t number) const {
  const RandomKey key = key_.Derive(kRow).Derive(static_cast<uint64_t>(file));
  Draws draws(key.Derive(static_cast<uint64_t>(number)));
  Row row;
  for (std::vector<int64_t>& ids : row.ids) {
    const size_t count = static_cast<size_t>(ids_min_ + draws.Below(ids_max_ - ids_min_ + 1));
    while (ids.size() < count) {
      const int64_t id = zipf_.At(draws.Uniform());
      if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
    }
  }
  for (int w = 0; w < kWideFields; ++w) {
    const int64_t id = draws.Below(wide_ids_);
    row.wide[static_cast<size_t>(w)] = id;
    const RandomKey effect = key_.Derive(kWide).Derive(static_cast<uint64_t>(w));
    row.additive += wide_spread_ * NormalOf(effect.Derive(static_cast<uint64_t>(id)));
  }
  if (null_) {
    row.additive += Effects(row);
  } else {
    row.interaction = Products(row);
  }
  row.probability = Sigmoid(bias_ + row.interaction + row.additive);
  row.click = draws.Chance(row.probability);
  return row;
}

void MultiHot::WriteUnit(int64_t unit, std::vector<std::string>* texts,
                         UnitFigures* figures) const {
  size_t file = 0;
  while (unit >= first_units_[file + 1]) ++file;
  const int64_t begin = (unit - first_units_[file]) * kUnitRows;
  const int64_t end = std::min(rows_[file], begin + kUnitRows);
  for (int64_t number = begin; number < end; ++number) {
    const Row made = MakeRow(static_cast<int>(file), number);
    RowText row(&(*texts)[file]);
    for (const std::vector<int64_t>& ids : made.ids) row.List(ids);
    for (const int64_t id : made.wide) row.Integer(id);
    row.Integer(made.click);
    figures->Mean(kClickRate, made.click);
    if (file == 2) {
      row.Number(made.probability).Number(made.interaction).Number(made.additive);
      figures->Score(kOracleAuc, made.probability, made.click);
      figures->Score(kAdditiveAuc, Sigmoid(made.additive), made.click);
    }
    row.End();
  }
}

WorldFacts MultiHot::Facts(const Figures& figures) const {
  std::vector<std::string> pairs;
  for (const auto& [a, b] : pairs_) pairs.push_back(absl::StrCat("[", a + 1, ", ", b + 1, "]"));
  return {{"pairs", absl::StrCat("[", absl::StrJoin(pairs, ", "), "]")},
          {"triple",
           absl::StrCat("[", triple_[0] + 1, ", ", triple_[1] + 1, ", ", triple_[2] + 1, "]")}};
}

std::vector<Knob> KnobList() {
  return {{"train_rows", 200000, 0, 1e12, true, "rows of train.csv"},
          {"valid_rows", 20000, 0, 1e12, true, "rows of valid.csv"},
          {"test_rows", 50000, 0, 1e12, true, "rows of test.csv"},
          {"ids", 2000, 1, 1e6, true, "ids of a multi-hot field"},
          {"ids_min", 1, 1, 100, true, "fewest ids in a field of a row"},
          {"ids_max", 8, 1, 100, true, "most"},
          {"zipf", 1.0, 0, 3, false, "exponent of the ids' frequencies"},
          {"wide_ids", 1000, 1, 1e9, true, "ids of a wide field"},
          {"wide_spread", 0.5, 0, 20, false, "spread of their effects"},
          {"latent", 8, 1, 64, true, "dimensions of an id's latent vector"},
          {"latent_spread", 1.0, 0, 20, false, "its standard deviation"},
          {"pair_weight", 2.0, -100, 100, false, "weight of the pairs' inner products"},
          {"triple_weight", 1.0, -100, 100, false, "weight of the triple's product"},
          {"bias", -2.0, -20, 20, false, "of the logit"},
          {"additive_spread", 1.0, 0, 20, false, "variant null: spread of an id's effect"}};
}

}  // namespace

WorldKind MultiHotKind() {
  WorldKind kind;
  kind.name = "multi_hot";
  kind.summary = "products of pooled multi-hot fields (USM)";
  kind.knobs = KnobList();
  kind.variants = {{"planted", {}}, {"null", {}}};
  kind.size_knob = "train_rows";
  kind.rows_per_size = [](const KnobValues&) { return 1.0; };
  kind.make = [](const KnobValues& knobs) -> absl::StatusOr<std::unique_ptr<World>> {
    if (knobs.Real("ids_max") < knobs.Real("ids_min") ||
        2 * knobs.Real("ids_max") > knobs.Real("ids")) {
      return absl::InvalidArgumentError(
          "knobs ids_min, ids_max, ids: ids_min <= ids_max <= ids / 2 must hold");
    }
    return std::make_unique<MultiHot>(knobs);
  };
  return kind;
}

}  // namespace pagoda

#include "tests/benchmarks/criteo_log.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace pagoda {
namespace {

// Distinct values of C1 .. C26 in the Criteo challenge's training log, as its
// users count them.
constexpr std::array<int64_t, kLogCategories> kRealNumIds = {
    1460, 583,   10131227, 2202608, 305,  24,   12517, 633,     3,  93145, 5683,   8351593, 3194,
    27,   14992, 5461306,  10,      5652, 2173, 4,     7046547, 18, 15,    286181, 105,     142572};
// Smaller categories keep their size; the others share what is left.
constexpr int64_t kScaledFrom = 50'000;

// A bijection of [0, n): spreads the frequent ids over the range, as a table's rows
// are not sorted by frequency either.
int64_t Scatter(int64_t rank, int64_t n) {
  int64_t factor = 2'654'435'761 % n;
  while (std::gcd(factor, n) != 1) ++factor;
  return static_cast<int64_t>(static_cast<unsigned __int128>(rank) *
                              static_cast<unsigned __int128>(factor) %
                              static_cast<unsigned __int128>(n));
}

// Zipf ranks by rejection-inversion (Hoermann and Derflinger 1996): constant time
// at any n. p(rank) ~ (rank + 1)^-exponent.
class ZipfDraw {
 public:
  ZipfDraw(int64_t n, double exponent) : n_(static_cast<double>(n)), exponent_(exponent) {
    low_ = Integral(1.5) - 1.0;
    high_ = Integral(n_ + 0.5);
    sure_ = 2.0 - Inverse(Integral(2.5) - std::pow(2.0, -exponent_));
  }

  int64_t Draw(RandomKey key) const {
    for (uint64_t attempt = 0;; ++attempt) {
      const double uniform =
          static_cast<double>(RandomBits(key, attempt) >> 11) * (1.0 / 9007199254740992.0);
      const double u = high_ + uniform * (low_ - high_);
      const double x = Inverse(u);
      const double k = std::clamp(std::floor(x + 0.5), 1.0, n_);
      if (k - x <= sure_ || u >= Integral(k + 0.5) - std::pow(k, -exponent_)) {
        return static_cast<int64_t>(k) - 1;
      }
    }
  }

 private:
  double Integral(double x) const {
    return std::expm1((1.0 - exponent_) * std::log(x)) / (1.0 - exponent_);
  }
  double Inverse(double y) const {
    return std::exp(std::log1p(y * (1.0 - exponent_)) / (1.0 - exponent_));
  }

  double n_, exponent_;
  double low_ = 0.0, high_ = 0.0, sure_ = 0.0;
};

}  // namespace

CriteoLog::CriteoLog(const CriteoLogOptions& options) : options_(options), num_ids_(kRealNumIds) {
  PAGODA_CHECK(options.num_ids >= kLogCategories && options.zipf_exponent > 1.0);
  int64_t kept = 0, scaled = 0;
  for (int64_t n : kRealNumIds) (n < kScaledFrom ? kept : scaled) += n;
  // Too few ids for the small categories, too: then all are scaled.
  const bool scale_all = options.num_ids < 2 * kept;
  const double factor = scale_all ? static_cast<double>(options.num_ids) / (kept + scaled)
                                  : static_cast<double>(options.num_ids - kept) / scaled;
  for (int64_t& n : num_ids_) {
    if (scale_all || n >= kScaledFrom) n = std::max<int64_t>(std::llround(n * factor), 2);
  }
}

int64_t CriteoLog::DrawId(RandomKey key, int64_t category) const {
  const int64_t n = num_ids_[static_cast<size_t>(category)];
  return Scatter(ZipfDraw(n, options_.zipf_exponent).Draw(key), n);
}

CriteoLog::Sample CriteoLog::Get(int64_t number) const {
  const RandomKey key = RandomKey{options_.seed}.Derive(static_cast<uint64_t>(number));
  Sample sample;
  double logit = -1.2;
  for (int64_t i = 0; i < kLogCounters; ++i) {
    const double draw = RandomNormal(key.Derive(1), static_cast<uint64_t>(i));
    const double value = std::exp(1.0 + draw) - 1.0;
    sample.counters[static_cast<size_t>(i)] = std::max<int64_t>(std::llround(value), 0);
    logit += (i % 2 == 0 ? 0.1 : -0.1) * draw;
  }
  for (int64_t c = 0; c < kLogCategories; ++c) {
    const int64_t id = DrawId(key.Derive(2 + static_cast<uint64_t>(c)), c);
    sample.ids[static_cast<size_t>(c)] = id;
    const RandomKey effect = RandomKey{options_.seed}.Derive(static_cast<uint64_t>(~c));
    logit += 0.3 * RandomNormal(effect, static_cast<uint64_t>(id));
  }
  const double probability = 1.0 / (1.0 + std::exp(-logit));
  sample.label = RandomUniform(key.Derive(0), 0) < probability ? 1.0f : 0.0f;
  return sample;
}

Batch CriteoLog::MakeBatch(int64_t first, int64_t size) const {
  Batch batch;
  batch.size = size;
  batch.first_sample = static_cast<uint64_t>(first);
  batch.sparse.resize(kLogCategories);
  batch.weights.assign(static_cast<size_t>(size), 1.0f);
  for (int64_t i = first; i < first + size; ++i) {
    const Sample sample = Get(i);
    for (int64_t counter : sample.counters) {
      batch.dense.push_back(std::log1p(static_cast<float>(counter)));
    }
    for (size_t c = 0; c < sample.ids.size(); ++c) {
      batch.sparse[c].ids.push_back(static_cast<FeatureId>(sample.ids[c]));
      batch.sparse[c].offsets.push_back(static_cast<int32_t>(batch.sparse[c].ids.size()));
    }
    batch.labels.push_back(sample.label);
    batch.origins.push_back({0, i + 1});
  }
  return batch;
}

std::string CriteoLog::TsvLine(int64_t number) const {
  const Sample sample = Get(number);
  std::string line = sample.label > 0.5f ? "1" : "0";
  for (int64_t counter : sample.counters) absl::StrAppend(&line, "\t", counter);
  for (int64_t id : sample.ids) absl::StrAppendFormat(&line, "\t%08x", id);
  line += '\n';
  return line;
}

FeatureSchema CriteoLogSchema(FeatureKind categories) {
  FeatureSchema schema;
  schema.label = "label";
  for (int64_t i = 1; i <= kLogCounters; ++i) {
    FeatureSpec feature;
    feature.name = absl::StrCat("I", i);
    feature.kind = FeatureKind::kNumeric;
    feature.transform.log = true;
    schema.features.push_back(feature);
  }
  for (int64_t c = 1; c <= kLogCategories; ++c) {
    FeatureSpec feature;
    feature.name = absl::StrCat("C", c);
    feature.kind = categories;
    schema.features.push_back(feature);
  }
  return schema;
}

}  // namespace pagoda

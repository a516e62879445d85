#include "algorithms/worlds/stock_sale.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "algorithms/worlds/draws.h"
#include "algorithms/worlds/row_text.h"

namespace pagoda {
namespace {

// Time in days. Users have clicked since kWarm; rows start at 0.
constexpr double kWarm = -20.0;
constexpr double kValidFrom = 24.0;
constexpr double kTestFrom = 27.0;
constexpr double kEnd = 30.0;
constexpr double kNever = std::numeric_limits<double>::infinity();

// Limited items come in groups: the r-th of a group is shown r + 1 times at most.
constexpr int64_t kGroupItems = 6;
constexpr int64_t kGroupSlots = 21;

constexpr int kSideFields = 5;  // Category, brand, price, seller, condition.
constexpr std::array<double, kSideFields> kSideShare = {0.25, 0.25, 0.15, 0.25, 0.10};

constexpr int64_t kUnitUsers = 1024;
constexpr int64_t kUnitRows = 65536;

enum Stream : uint64_t {
  kSlots = 1,
  kEffects,
  kSide,
  kLife,
  kExposure,
  kLiked,
  kElsewhere,
  kDeepRow,
  kNullRow,
  kShuffle
};
enum File { kTrain, kValid, kTestFile };
enum Figure {
  kOracle,
  kOracleLimited,
  kOracleNew,
  kOracleFew,
  kOracleDeep,
  kClickRate,
  kSoldShare,
  kLimitedShare,
  kLimitedTargets
};

struct Item {
  int64_t id = 0;
  bool limited = false;
  bool withheld = false;  // Its side fields, once it is sold.
  std::array<int64_t, kSideFields> side = {};
  double quality = 0.0;
};

// What happened to a limited item.
struct Life {
  struct Exposure {
    int64_t user;
    double time;
    double probability;
    bool click;
  };
  std::vector<Exposure> exposures;  // Those that happened, in order.
  double sold = kNever;
};

struct Candidate {
  Item item;
  double time = 0.0;
  double taste = 0.0;
  double probability = 0.0;
  bool click = false;
  double sold = kNever;
  int64_t train_count = 0;
};

struct Event {
  const Item* item;
  double time;
  double sold;
};

class StockSale : public World {
 public:
  explicit StockSale(const KnobValues& knobs);

  std::vector<WorldFile> files() const override;
  std::vector<FigureName> figures() const override;
  int64_t num_units() const override { return (users_ + unit_users_ - 1) / unit_users_; }
  void WriteUnit(int64_t unit, std::vector<std::string>* texts,
                 UnitFigures* figures) const override;

 private:
  void DrawEffects(const std::array<int64_t, kSideFields>& levels);
  void CountElsewhere();
  Item MakeItem(int64_t id) const;
  // The part of the logit that is the user's; mean 0 over categories.
  double Taste(int64_t user, bool limited, int64_t category) const;
  double ClickProbability(const Item& item, int64_t user) const;
  Life LifeOf(const Item& item) const;
  Candidate LimitedCandidate(int64_t user, int64_t index) const;  // time = kNever: none.
  Candidate NullCandidate(int64_t user, int64_t index) const;
  Candidate DeepCandidate(int64_t user, int64_t index) const;
  void FinishCandidate(int64_t user, Draws& draws, Candidate* candidate) const;
  std::vector<Item> Elsewhere(int64_t user, std::vector<double>* times) const;
  void WriteUser(int64_t user, std::vector<std::string>* texts, UnitFigures* figures) const;
  void WriteHistory(const std::vector<Event>& events, double now, bool test, RowText* row,
                    UnitFigures* figures) const;
  void WriteTruth(const Candidate& candidate, RowText* row, UnitFigures* figures) const;

  RandomKey key_;
  bool null_;
  int64_t users_, limited_slots_, deep_rows_, deep_items_, history_, liked_;
  double history_deep_, taste_strength_, side_weight_, own_spread_, click_bias_, buy_, withhold_;
  double gap_days_;
  int64_t unit_users_;
  Permutation slots_;  // (user, index) -> place among the slots of all limited items.
  std::array<std::vector<double>, kSideFields> effects_;  // By level, mean 0 and variance 1.
  std::vector<std::vector<int64_t>> deep_of_category_;
  double elsewhere_ = 0.0;  // Deep-stock clicks of a user outside the rows.
};

StockSale::StockSale(const KnobValues& knobs)
    : key_(RandomKey{knobs.seed()}.Derive(0x73746f63)),
      null_(knobs.variant() == "null"),
      users_(knobs.Whole("users")),
      limited_slots_(knobs.Whole("limited_slots")),
      deep_rows_(knobs.Whole("deep_rows")),
      deep_items_(knobs.Whole("deep_items")),
      history_(knobs.Whole("history")),
      liked_(knobs.Whole("liked")),
      history_deep_(knobs.Real("history_deep")),
      taste_strength_(knobs.Real("taste_strength")),
      side_weight_(knobs.Real("side_weight")),
      own_spread_(knobs.Real("own_spread")),
      click_bias_(knobs.Real("click_bias")),
      buy_(knobs.Real("buy")),
      withhold_(knobs.Real("withhold")),
      gap_days_(knobs.Real("gap_days")),
      unit_users_(std::clamp<int64_t>(kUnitRows / (limited_slots_ + deep_rows_), 1, kUnitUsers)),
      slots_(key_.Derive(kSlots), users_ * limited_slots_) {
  DrawEffects({knobs.Whole("categories"), knobs.Whole("brands"), knobs.Whole("prices"),
               knobs.Whole("sellers"), knobs.Whole("conditions")});
  deep_of_category_.resize(effects_[0].size());
  for (int64_t id = 0; id < deep_items_; ++id) {
    deep_of_category_[static_cast<size_t>(MakeItem(id).side[0])].push_back(id);
  }
  CountElsewhere();
}

void StockSale::DrawEffects(const std::array<int64_t, kSideFields>& levels) {
  for (size_t field = 0; field < kSideFields; ++field) {
    Draws draws(key_.Derive(kEffects).Derive(field));
    std::vector<double>& effects = effects_[field];
    double sum = 0.0;
    double squares = 0.0;
    for (int64_t level = 0; level < levels[field]; ++level) {
      effects.push_back(draws.Normal());
      sum += effects.back();
      squares += effects.back() * effects.back();
    }
    const double mean = sum / static_cast<double>(effects.size());
    const double variance = squares / static_cast<double>(effects.size()) - mean * mean;
    for (double& effect : effects) {  // One level alone has no effect.
      effect = effects.size() == 1 ? 0.0 : (effect - mean) / std::sqrt(variance);
    }
  }
}

// Chooses elsewhere_ such that histories hold deep-stock events in the share that is asked
// for, from the click rates of a sample of this world's own rows.
void StockSale::CountElsewhere() {
  constexpr int64_t kSample = 2000;
  double limited = 0.0;
  double deep = 0.0;
  for (int64_t i = 0; i < kSample; ++i) {
    const int64_t user = i % users_;
    const Candidate shown = LimitedCandidate(user, i % limited_slots_);
    limited += shown.time < kEnd && shown.click ? 1.0 : 0.0;
    if (deep_rows_ > 0) deep += DeepCandidate(user, i % deep_rows_).click ? 1.0 : 0.0;
  }
  const double limited_clicks = limited / kSample * static_cast<double>(limited_slots_);
  const double deep_clicks = deep / kSample * static_cast<double>(deep_rows_);
  const double wanted = limited_clicks * history_deep_ / (1.0 - history_deep_);
  elsewhere_ = std::max(0.0, wanted - deep_clicks);
}

std::vector<WorldFile> StockSale::files() const {
  const std::string columns =
      "user,item,limited,category,brand,price,seller,condition,time,hist_items,hist_limited,"
      "hist_sold,hist_categories,hist_brands,hist_prices,hist_sellers,hist_conditions,hist_days,"
      "click";
  return {{"train.csv", columns},
          {"valid.csv", columns},
          {"test.csv", columns + ",oracle,quality,taste,train_count,slice"}};
}

std::vector<FigureName> StockSale::figures() const {
  return {{"oracle_auc", FigureName::kAuc},
          {"oracle_auc_limited", FigureName::kAuc},
          {"oracle_auc_limited_new", FigureName::kAuc},
          {"oracle_auc_limited_few", FigureName::kAuc},
          {"oracle_auc_deep", FigureName::kAuc},
          {"click_rate", FigureName::kMean},
          {"sold_share", FigureName::kMean},
          {"limited_share", FigureName::kMean},
          {"limited_targets", FigureName::kMean}};
}

Item StockSale::MakeItem(int64_t id) const {
  Draws draws(key_.Derive(kSide).Derive(static_cast<uint64_t>(id)));
  Item item;
  item.id = id;
  item.limited = id >= deep_items_;
  double side = 0.0;
  for (size_t field = 0; field < kSideFields; ++field) {
    item.side[field] = draws.Below(static_cast<int64_t>(effects_[field].size()));
    const double effect = effects_[field][static_cast<size_t>(item.side[field])];
    side += std::sqrt(kSideShare[field]) * effect;
  }
  item.quality = side_weight_ * side + own_spread_ * draws.Normal();
  item.withheld = item.limited && draws.Chance(withhold_);
  return item;
}

double StockSale::Taste(int64_t user, bool limited, int64_t category) const {
  const int64_t categories = static_cast<int64_t>(effects_[0].size());
  const RandomKey key = key_.Derive(kLiked).Derive(limited).Derive(static_cast<uint64_t>(user));
  const bool likes = Permutation(key, categories).At(category) < liked_;
  const double share = static_cast<double>(liked_) / static_cast<double>(categories);
  return taste_strength_ * ((likes ? 1.0 : 0.0) - share);
}

double StockSale::ClickProbability(const Item& item, int64_t user) const {
  return Sigmoid(click_bias_ + item.quality + Taste(user, item.limited, item.side[0]));
}

Life StockSale::LifeOf(const Item& item) const {
  const int64_t number = item.id - deep_items_;
  const int64_t rank = number % kGroupItems;
  const int64_t first = number / kGroupItems * kGroupSlots + rank * (rank + 1) / 2;
  const RandomKey key = key_.Derive(kLife).Derive(static_cast<uint64_t>(number));
  Draws times(key);
  double time = kWarm + (kEnd - kWarm) * times.Uniform();
  Life life;
  // The last group may have fewer slots than its items could use.
  const int64_t end = std::min(first + rank + 1, slots_.size());
  for (int64_t slot = first; slot < end; ++slot) {
    const int64_t user = slots_.Inverse(slot) / limited_slots_;
    Draws draws(key_.Derive(kExposure).Derive(static_cast<uint64_t>(slot)));
    const double probability = ClickProbability(item, user);
    const bool click = draws.Chance(probability);
    life.exposures.push_back({user, time, probability, click});
    if (click && draws.Chance(buy_)) {
      life.sold = time;
      break;
    }
    time += gap_days_ * times.Exponential();
  }
  return life;
}

Candidate StockSale::LimitedCandidate(int64_t user, int64_t index) const {
  if (null_) return NullCandidate(user, index);
  const int64_t slot = slots_.At(user * limited_slots_ + index);
  const int64_t place = slot % kGroupSlots;
  int64_t rank = 0;
  while (place >= (rank + 1) * (rank + 2) / 2) ++rank;
  const size_t exposure = static_cast<size_t>(place - rank * (rank + 1) / 2);
  Candidate candidate;
  candidate.item = MakeItem(deep_items_ + slot / kGroupSlots * kGroupItems + rank);
  const Life life = LifeOf(candidate.item);
  candidate.time = kNever;
  if (exposure >= life.exposures.size()) return candidate;  // Sold before.
  candidate.time = life.exposures[exposure].time;
  candidate.click = life.exposures[exposure].click;
  candidate.probability = life.exposures[exposure].probability;
  candidate.taste = Taste(user, true, candidate.item.side[0]);
  candidate.sold = life.sold;
  for (const Life::Exposure& shown : life.exposures) {
    candidate.train_count += shown.time >= 0.0 && shown.time < kValidFrom ? 1 : 0;
  }
  return candidate;
}

void StockSale::FinishCandidate(int64_t user, Draws& draws, Candidate* candidate) const {
  candidate->item = MakeItem(draws.Below(deep_items_));
  candidate->taste = Taste(user, false, candidate->item.side[0]);
  candidate->probability = ClickProbability(candidate->item, user);
  candidate->click = draws.Chance(candidate->probability);
  const double rows = static_cast<double>(users_) *
                      static_cast<double>(deep_rows_ + (null_ ? limited_slots_ * 3 / 5 : 0));
  candidate->train_count =
      std::llround(rows * (kValidFrom / kEnd) / static_cast<double>(deep_items_));
}

Candidate StockSale::NullCandidate(int64_t user, int64_t index) const {
  const RandomKey key = key_.Derive(kNullRow).Derive(static_cast<uint64_t>(user));
  Draws draws(key.Derive(static_cast<uint64_t>(index)));
  Candidate candidate;
  candidate.time = kWarm + (kEnd - kWarm) * draws.Uniform();
  FinishCandidate(user, draws, &candidate);
  return candidate;
}

Candidate StockSale::DeepCandidate(int64_t user, int64_t index) const {
  const RandomKey key = key_.Derive(kDeepRow).Derive(static_cast<uint64_t>(user));
  Draws draws(key.Derive(static_cast<uint64_t>(index)));
  Candidate candidate;
  candidate.time = kEnd * draws.Uniform();
  FinishCandidate(user, draws, &candidate);
  return candidate;
}

// Clicks on deep-stock items that are in no row: categories with the odds of a click.
std::vector<Item> StockSale::Elsewhere(int64_t user, std::vector<double>* times) const {
  Draws draws(key_.Derive(kElsewhere).Derive(static_cast<uint64_t>(user)));
  const int64_t categories = static_cast<int64_t>(effects_[0].size());
  const RandomKey liked_key = key_.Derive(kLiked).Derive(false).Derive(static_cast<uint64_t>(user));
  const Permutation order(liked_key, categories);
  const double liked_weight = static_cast<double>(liked_) * std::exp(taste_strength_);
  const double other_weight = static_cast<double>(categories - liked_);
  const double liked_share = liked_weight / (liked_weight + other_weight);
  const int64_t count = static_cast<int64_t>(elsewhere_ + draws.Uniform());
  std::vector<Item> items;
  for (int64_t i = 0; i < count; ++i) {
    times->push_back(kWarm + (kEnd - kWarm) * draws.Uniform());
    const bool likes = draws.Chance(liked_share) && liked_ > 0;
    const int64_t rank = likes ? draws.Below(liked_)
                               : liked_ + draws.Below(std::max<int64_t>(1, categories - liked_));
    const int64_t category = order.Inverse(std::min(rank, categories - 1));
    const std::vector<int64_t>& ids = deep_of_category_[static_cast<size_t>(category)];
    const int64_t any = draws.Below(deep_items_);
    const int64_t chosen = draws.Below(std::max<int64_t>(1, static_cast<int64_t>(ids.size())));
    items.push_back(MakeItem(ids.empty() ? any : ids[static_cast<size_t>(chosen)]));
  }
  return items;
}

void StockSale::WriteHistory(const std::vector<Event>& events, double now, bool test, RowText* row,
                             UnitFigures* figures) const {
  const auto later = std::partition_point(events.begin(), events.end(),
                                          [now](const Event& event) { return event.time < now; });
  const int64_t count = std::min<int64_t>(history_, later - events.begin());
  std::array<std::vector<int64_t>, 4 + kSideFields> lists;  // In the columns' order.
  for (auto event = later - count; event != later; ++event) {
    const Item& item = *event->item;
    const bool sold = event->sold < now;
    lists[0].push_back(item.id);
    lists[1].push_back(item.limited);
    lists[2].push_back(sold);
    for (size_t field = 0; field < kSideFields; ++field) {
      lists[3 + field].push_back(sold && item.withheld ? 0 : item.side[field] + 1);
    }
    lists[3 + kSideFields].push_back(static_cast<int64_t>(now - event->time));
    if (test) figures->Mean(kLimitedShare, item.limited);
    if (test && item.limited) figures->Mean(kSoldShare, sold);
  }
  for (const std::vector<int64_t>& list : lists) row->List(list);
}

void StockSale::WriteTruth(const Candidate& candidate, RowText* row, UnitFigures* figures) const {
  const double p = candidate.probability;
  const bool few = candidate.train_count >= 1 && candidate.train_count <= 3;
  figures->Score(kOracle, p, candidate.click);
  const char* slice = "deep";
  if (!candidate.item.limited) {
    figures->Score(kOracleDeep, p, candidate.click);
  } else {
    figures->Score(kOracleLimited, p, candidate.click);
    slice = few ? "limited_few" : (candidate.train_count == 0 ? "limited_new" : "limited_more");
    if (few) figures->Score(kOracleFew, p, candidate.click);
    if (candidate.train_count == 0) figures->Score(kOracleNew, p, candidate.click);
  }
  row->Number(p).Number(candidate.item.quality).Number(candidate.taste);
  row->Integer(candidate.train_count).Word(slice);
}

void StockSale::WriteUser(int64_t user, std::vector<std::string>* texts,
                          UnitFigures* figures) const {
  std::vector<Candidate> shown;
  for (int64_t i = 0; i < limited_slots_; ++i) {
    shown.push_back(LimitedCandidate(user, i));
    if (shown.back().time >= kEnd) shown.pop_back();
  }
  for (int64_t i = 0; i < deep_rows_; ++i) shown.push_back(DeepCandidate(user, i));
  std::vector<double> times;
  const std::vector<Item> elsewhere = Elsewhere(user, &times);
  std::vector<Event> events;
  for (size_t i = 0; i < times.size(); ++i) events.push_back({&elsewhere[i], times[i], kNever});
  for (const Candidate& candidate : shown) {
    if (candidate.click) events.push_back({&candidate.item, candidate.time, candidate.sold});
  }
  std::sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
    return a.time != b.time ? a.time < b.time : a.item->id < b.item->id;
  });
  for (const Candidate& candidate : shown) {
    if (candidate.time < 0.0) continue;
    const File file = candidate.time < kValidFrom  ? kTrain
                      : candidate.time < kTestFrom ? kValid
                                                   : kTestFile;
    RowText row(&(*texts)[file]);
    row.Integer(user).Integer(candidate.item.id).Integer(candidate.item.limited);
    for (const int64_t level : candidate.item.side) row.Integer(level + 1);
    row.Number(candidate.time);
    WriteHistory(events, candidate.time, file == kTestFile, &row, figures);
    row.Integer(candidate.click);
    figures->Mean(kClickRate, candidate.click);
    figures->Mean(kLimitedTargets, candidate.item.limited);
    if (file == kTestFile) WriteTruth(candidate, &row, figures);
    row.End();
  }
}

void StockSale::WriteUnit(int64_t unit, std::vector<std::string>* texts,
                          UnitFigures* figures) const {
  std::array<size_t, 3> begins;
  for (size_t file = 0; file < begins.size(); ++file) begins[file] = (*texts)[file].size();
  const int64_t end = std::min(users_, (unit + 1) * unit_users_);
  for (int64_t user = unit * unit_users_; user < end; ++user) WriteUser(user, texts, figures);
  const RandomKey shuffle = key_.Derive(kShuffle).Derive(static_cast<uint64_t>(unit));
  for (size_t file = 0; file < begins.size(); ++file) {
    ShuffleRows(shuffle.Derive(file), begins[file], &(*texts)[file]);
  }
}

std::vector<Knob> KnobList() {
  return {{"users", 8000, 1, 1e10, true, "users"},
          {"limited_slots", 60, 1, 10000, true,
           "impressions of limited items of a user in 50 days, before sales end some"},
          {"deep_rows", 22, 0, 10000, true, "rows of a user with a deep-stock item, in 30 days"},
          {"deep_items", 2000, 1, 1e7, true, "items in deep stock"},
          {"history", 30, 0, 10000, true, "events in a history, at most"},
          {"history_deep", 0.75, 0, 0.99, false, "share of deep-stock events in histories"},
          {"categories", 20, 1, 100000, true, "levels of a side field"},
          {"brands", 200, 1, 1e6, true, "levels of a side field"},
          {"prices", 10, 1, 1e6, true, "levels of a side field"},
          {"sellers", 1000, 1, 1e6, true, "levels of a side field"},
          {"conditions", 4, 1, 1e6, true, "levels of a side field"},
          {"liked", 3, 0, 100000, true, "categories that a user likes, for each taste"},
          {"taste_strength", 3.0, -20, 20, false, "logit of a liked category over another"},
          {"side_weight", 0.9, -20, 20, false, "weight of the side fields in the quality"},
          {"own_spread", 0.5, 0, 20, false, "spread of the item's own part of the quality"},
          {"click_bias", -2.0, -20, 20, false, "of the logit"},
          {"buy", 0.25, 0, 1, false, "chance that a click on a limited item buys it"},
          {"gap_days", 3.0, 0.001, 1000, false, "mean days between exposures of a limited item"},
          {"withhold", 0.0, 0, 1, false,
           "share of limited items whose side fields read 0 in histories once sold"}};
}

}  // namespace

WorldKind StockSaleKind() {
  WorldKind kind;
  kind.name = "stock_sale";
  kind.summary = "items that are sold once, two tastes in one history (MSNet)";
  kind.knobs = KnobList();
  kind.variants = {{"planted", {}}, {"null", {}}};
  kind.size_knob = "users";
  // 24 of 50 days, less those sold before and those beyond the end.
  kind.rows_per_size = [](const KnobValues& knobs) {
    return 0.44 * knobs.Real("limited_slots") + 0.8 * knobs.Real("deep_rows");
  };
  kind.make = [](const KnobValues& knobs) -> absl::StatusOr<std::unique_ptr<World>> {
    if (knobs.Real("liked") > knobs.Real("categories")) {
      return absl::InvalidArgumentError("knob 'liked': more than there are categories");
    }
    return std::make_unique<StockSale>(knobs);
  };
  return kind;
}

}  // namespace pagoda

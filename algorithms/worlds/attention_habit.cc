#include "algorithms/worlds/attention_habit.h"

#include <algorithm>
#include <cmath>

#include "algorithms/worlds/draws.h"
#include "algorithms/worlds/row_text.h"

namespace pagoda {
namespace {

constexpr int kHistoryDays = 30;  // Tokens of a row.
constexpr int kRecentDays = 7;    // "In the last week".
// Rows shuffled together: 1024 users of the default world, and a bounded unit of any other.
constexpr int64_t kUnitUsers = 1024;
constexpr int64_t kUnitRows = 65536;

enum Stream : uint64_t { kTheta = 1, kExposure, kUser, kTaste, kDay, kTest, kShuffle };
enum File { kTrain, kValid, kTestFile };
enum Figure { kOracleGauc, kClusterGauc, kOracleAuc, kClickRate, kPortalRate };

struct Shown {
  int64_t item;
  int64_t cluster;
  bool click;
};

struct Day {
  std::vector<Shown> shown;
  bool portal = false;
  bool block = false;
};

struct Person {
  int64_t id = 0;
  double drive = 0.0;
  double habit = 0.0;
  double shown_high = 0.0;       // Chance that a cluster of rho = +1 is shown.
  std::vector<double> interest;  // q by cluster.
  std::vector<Day> days;         // From day -kHistoryDays on.
  const Day& At(int64_t day) const { return days[static_cast<size_t>(day + kHistoryDays)]; }
};

class AttentionHabit : public World {
 public:
  explicit AttentionHabit(const KnobValues& knobs);

  std::vector<WorldFile> files() const override;
  std::vector<FigureName> figures() const override;
  int64_t num_units() const override { return (users_ + unit_users_ - 1) / unit_users_; }
  void WriteUnit(int64_t unit, std::vector<std::string>* texts,
                 UnitFigures* figures) const override;

 private:
  Person MakePerson(int64_t user) const;
  Day MakeDay(const Person& person, int64_t day) const;
  // A cluster of the high (rho = +1) or the low half.
  int64_t ClusterOf(Draws& draws, bool high) const;
  int64_t ItemOf(Draws& draws, int64_t cluster) const;
  void StartRow(RowText& row, const Person& person, int64_t day, bool first,
                const Shown& shown) const;
  void WriteDay(const Person& person, int64_t day, std::string* text) const;
  void WriteTest(const Person& person, std::string* text, UnitFigures* figures) const;

  RandomKey key_;
  int64_t users_, train_days_, test_users_, test_items_, clusters_, items_, items_per_day_;
  double drive_alpha_, drive_beta_, habit_scale_, habit_max_, attention_, confounding_;
  double interest_bias_, taste_;
  int64_t unit_users_;
  std::vector<double> theta_;             // By cluster.
  std::vector<double> cluster_interest_;  // Mean of q over tastes.
  std::vector<int64_t> high_, low_;       // Clusters of rho = +1 and -1.
};

// The mean of Sigmoid(x + taste * N(0, 1)), by the midpoint rule over +-6 deviations:
// off by less than 1e-7 for such a smooth integrand.
double MeanInterest(double x, double taste) {
  constexpr int kPoints = 240;
  double sum = 0.0;
  double weights = 0.0;
  for (int i = 0; i < kPoints; ++i) {
    const double z = -6.0 + 12.0 * (i + 0.5) / kPoints;
    const double weight = std::exp(-0.5 * z * z);
    sum += weight * Sigmoid(x + taste * z);
    weights += weight;
  }
  return sum / weights;
}

AttentionHabit::AttentionHabit(const KnobValues& knobs)
    : key_(RandomKey{knobs.seed()}.Derive(0x61747468)),  // Of this world alone.
      users_(knobs.Whole("users")),
      train_days_(knobs.Whole("train_days")),
      test_users_(std::min(knobs.Whole("test_users"), users_)),
      test_items_(knobs.Whole("test_items")),
      clusters_(knobs.Whole("clusters")),
      items_(std::max(knobs.Whole("items"), clusters_)),
      items_per_day_(knobs.Whole("items_per_day")),
      drive_alpha_(knobs.Real("drive_alpha")),
      drive_beta_(knobs.Real("drive_beta")),
      habit_scale_(knobs.Real("habit_scale")),
      habit_max_(knobs.Real("habit_max")),
      attention_(knobs.Real("attention")),
      confounding_(knobs.Real("confounding")),
      interest_bias_(knobs.Real("interest_bias")),
      taste_(knobs.Real("taste")),
      unit_users_(std::clamp<int64_t>(kUnitRows / (train_days_ * items_per_day_), 1, kUnitUsers)) {
  const Permutation halves(key_.Derive(kExposure), clusters_);
  for (int64_t c = 0; c < clusters_; ++c) {
    const double appeal = knobs.Real("appeal");
    theta_.push_back(appeal * NormalOf(key_.Derive(kTheta).Derive(static_cast<uint64_t>(c))));
    cluster_interest_.push_back(MeanInterest(interest_bias_ + theta_.back(), taste_));
    (halves.At(c) % 2 == 0 ? high_ : low_).push_back(c);
  }
}

std::vector<WorldFile> AttentionHabit::files() const {
  const std::string columns =
      "user,day,day_first,item,cluster,tokens,clicked_items,clicked_clusters,click,portal,block,"
      "recent";
  return {{"train.csv", columns},
          {"valid.csv", columns},
          {"test.csv", columns + ",interest,oracle,cluster_oracle,drive,habit"}};
}

std::vector<FigureName> AttentionHabit::figures() const {
  return {{"oracle_gauc", FigureName::kMean},
          {"cluster_oracle_gauc", FigureName::kMean},
          {"oracle_auc", FigureName::kAuc},
          {"click_rate", FigureName::kMean},
          {"portal_rate", FigureName::kMean}};
}

int64_t AttentionHabit::ClusterOf(Draws& draws, bool high) const {
  // One cluster alone leaves the other half empty.
  const std::vector<int64_t>& half = high || low_.empty() ? high_ : low_;
  return half[static_cast<size_t>(draws.Below(static_cast<int64_t>(half.size())))];
}

int64_t AttentionHabit::ItemOf(Draws& draws, int64_t cluster) const {
  const int64_t of_cluster = (items_ - cluster + clusters_ - 1) / clusters_;
  return cluster + clusters_ * draws.Below(of_cluster);
}

Day AttentionHabit::MakeDay(const Person& person, int64_t day) const {
  const RandomKey key = key_.Derive(kDay).Derive(static_cast<uint64_t>(person.id));
  Draws draws(key.Derive(static_cast<uint64_t>(day + kHistoryDays)));
  Day made;
  const bool wants_portal = draws.Chance(person.drive);
  const bool by_habit = draws.Chance(person.habit) && wants_portal;
  const bool looks = draws.Chance(attention_) || wants_portal;
  const int64_t habit_click = draws.Below(items_per_day_);
  for (int64_t i = 0; i < items_per_day_; ++i) {
    const int64_t cluster = ClusterOf(draws, draws.Chance(person.shown_high));
    const int64_t item = ItemOf(draws, cluster);
    const bool likes = draws.Chance(person.interest[static_cast<size_t>(cluster)]);
    const bool click = by_habit ? i == habit_click : looks && likes;
    made.shown.push_back({item, cluster, click});
    made.block = made.block || click;
  }
  made.portal = wants_portal || made.block;
  return made;
}

Person AttentionHabit::MakePerson(int64_t user) const {
  Person person;
  person.id = user;
  Draws draws(key_.Derive(kUser).Derive(static_cast<uint64_t>(user)));
  person.drive = draws.Beta(drive_alpha_, drive_beta_);
  person.habit = std::min(habit_max_, habit_scale_ * person.drive);
  const double lean = confounding_ * (person.drive - 0.4);
  const double high = static_cast<double>(high_.size()) * std::exp(lean);
  const double low = static_cast<double>(low_.size()) * std::exp(-lean);
  person.shown_high = high / (high + low);
  Draws tastes(key_.Derive(kTaste).Derive(static_cast<uint64_t>(user)));
  for (int64_t c = 0; c < clusters_; ++c) {
    const double theta = theta_[static_cast<size_t>(c)];
    person.interest.push_back(Sigmoid(interest_bias_ + theta + taste_ * tastes.Normal()));
  }
  for (int64_t day = -kHistoryDays; day < train_days_ + 2; ++day) {
    person.days.push_back(MakeDay(person, day));
  }
  return person;
}

void AttentionHabit::StartRow(RowText& row, const Person& person, int64_t day, bool first,
                              const Shown& shown) const {
  std::vector<int32_t> tokens;
  std::vector<int64_t> clicked_items;
  std::vector<int64_t> clicked_clusters;
  bool recent = false;
  for (int64_t past = day - kHistoryDays; past < day; ++past) {
    const Day& then = person.At(past);
    tokens.push_back(then.block ? 2 : (then.portal ? 1 : 0));
    recent = recent || (past >= day - kRecentDays && tokens.back() != 0);
    for (const Shown& seen : then.shown) {
      if (!seen.click) continue;
      clicked_items.push_back(seen.item);
      clicked_clusters.push_back(seen.cluster);
    }
  }
  row.Integer(person.id).Integer(day).Integer(first).Integer(shown.item).Integer(shown.cluster);
  row.List(tokens).List(clicked_items).List(clicked_clusters).Integer(shown.click);
  const Day& today = person.At(day);
  row.Integer(today.portal).Integer(today.block).Integer(recent);
}

void AttentionHabit::WriteDay(const Person& person, int64_t day, std::string* text) const {
  bool first = true;
  for (const Shown& shown : person.At(day).shown) {
    RowText row(text);
    StartRow(row, person, day, first, shown);
    row.End();
    first = false;
  }
}

void AttentionHabit::WriteTest(const Person& person, std::string* text,
                               UnitFigures* figures) const {
  Draws draws(key_.Derive(kTest).Derive(static_cast<uint64_t>(person.id)));
  std::vector<double> scores;
  std::vector<double> cluster_scores;
  std::vector<bool> labels;
  for (int64_t i = 0; i < test_items_; ++i) {
    const int64_t cluster = draws.Below(clusters_);
    const int64_t item = ItemOf(draws, cluster);
    const double interest = person.interest[static_cast<size_t>(cluster)];
    const double cluster_oracle = cluster_interest_[static_cast<size_t>(cluster)];
    const Shown shown{item, cluster, draws.Chance(interest)};
    RowText row(text);
    StartRow(row, person, train_days_ + 1, i == 0, shown);
    row.Number(interest).Number(interest).Number(cluster_oracle);
    row.Number(person.drive).Number(person.habit).End();
    scores.push_back(interest);
    cluster_scores.push_back(cluster_oracle);
    labels.push_back(shown.click);
    figures->Score(kOracleAuc, interest, shown.click);
  }
  const double gauc = PairwiseAuc(scores, labels);
  if (std::isnan(gauc)) return;
  figures->Mean(kOracleGauc, gauc);
  figures->Mean(kClusterGauc, PairwiseAuc(cluster_scores, labels));
}

void AttentionHabit::WriteUnit(int64_t unit, std::vector<std::string>* texts,
                               UnitFigures* figures) const {
  const size_t begins[] = {(*texts)[kTrain].size(), (*texts)[kValid].size()};
  const int64_t end = std::min(users_, (unit + 1) * unit_users_);
  for (int64_t user = unit * unit_users_; user < end; ++user) {
    const Person person = MakePerson(user);
    for (int64_t day = 0; day < train_days_; ++day) {
      WriteDay(person, day, &(*texts)[kTrain]);
      for (const Shown& shown : person.At(day).shown) figures->Mean(kClickRate, shown.click);
      figures->Mean(kPortalRate, person.At(day).portal);
    }
    WriteDay(person, train_days_, &(*texts)[kValid]);
    if (user < test_users_) WriteTest(person, &(*texts)[kTestFile], figures);
  }
  const RandomKey shuffle = key_.Derive(kShuffle).Derive(static_cast<uint64_t>(unit));
  for (const File file : {kTrain, kValid}) {
    ShuffleRows(shuffle.Derive(file), begins[file], &(*texts)[file]);
  }
}

std::vector<Knob> KnobList() {
  return {{"users", 20000, 1, 1e10, true, "users"},
          {"train_days", 10, 1, 1000, true, "days of train.csv"},
          {"test_users", 4000, 0, 1e10, true, "users of test.csv, the first ones"},
          {"test_items", 40, 1, 10000, true, "pairs of a user in test.csv"},
          {"clusters", 20, 1, 100000, true, "clusters of items"},
          {"items", 2000, 1, 1e9, true, "items; at least one a cluster"},
          {"items_per_day", 1, 1, 16, true, "items shown to a user on a day"},
          {"drive_alpha", 0.6, 0.05, 5, false, "of the drive's Beta distribution"},
          {"drive_beta", 2.4, 0.05, 5, false, "of the drive's Beta distribution"},
          {"habit_scale", 1.3, 0, 100, false, "habit over drive"},
          {"habit_max", 0.95, 0, 1, false, "largest habit"},
          {"attention", 0.02, 0, 1, false, "chance to look without a drive"},
          {"confounding", 1.5, 0, 50, false, "how exposure depends on the drive"},
          {"interest_bias", -1.5, -20, 20, false, "logit of the interest"},
          {"appeal", 0.8, 0, 20, false, "spread of the clusters' appeal"},
          {"taste", 0.5, 0, 20, false, "spread of a user's taste for a cluster"}};
}

}  // namespace

WorldKind AttentionHabitKind() {
  WorldKind kind;
  kind.name = "attention_habit";
  kind.summary = "impressions nobody looked at, clicks out of habit (USD)";
  kind.knobs = KnobList();
  kind.variants = {
      {"planted", {}},
      {"null", {{"habit_scale", 0.0}, {"attention", 1.0}, {"confounding", 0.0}}},
      {"violation",
       {{"habit_scale", 0.5}, {"drive_alpha", 1.2}, {"drive_beta", 1.8}, {"confounding", 3.0}}}};
  kind.size_knob = "users";
  kind.rows_per_size = [](const KnobValues& knobs) {
    return knobs.Real("train_days") * knobs.Real("items_per_day");
  };
  kind.make = [](const KnobValues& knobs) -> absl::StatusOr<std::unique_ptr<World>> {
    return std::make_unique<AttentionHabit>(knobs);
  };
  return kind;
}

}  // namespace pagoda

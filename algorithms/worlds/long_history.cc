#include "algorithms/worlds/long_history.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "algorithms/worlds/draws.h"
#include "algorithms/worlds/row_text.h"

namespace pagoda {
namespace {

constexpr int64_t kUnitUsers = 32;  // About 256 KiB of sequences in the default world.
constexpr int64_t kOldAge = 100;    // Events; older ones count as old in `old_share`.

enum Stream : uint64_t { kComplement = 1, kHistory, kCandidate, kSwap };
enum File { kUsers, kTrain, kValid, kTest };
enum Figure { kOracle, kShortOracle, kSameOracle, kClickRate, kOldShare };

struct History {
  std::vector<int64_t> items;  // Newest last.
  std::vector<int64_t> topics;
};

// Recency-decayed numbers of events, by topic.
struct Counts {
  std::vector<double> all;
  std::vector<double> recent;  // Of the newest `short` events.
  std::vector<double> old;     // Of events older than kOldAge.
};

class LongHistory : public World {
 public:
  explicit LongHistory(const KnobValues& knobs);

  std::vector<WorldFile> files() const override;
  std::vector<FigureName> figures() const override;
  int64_t num_units() const override { return (users_ + kUnitUsers - 1) / kUnitUsers; }
  void WriteUnit(int64_t unit, std::vector<std::string>* texts,
                 UnitFigures* figures) const override;

 private:
  int64_t ItemOf(Draws& draws, int64_t topic) const;
  int64_t ComplementOf(int64_t topic) const;
  History MakeHistory(int64_t user) const;
  Counts Count(const History& history) const;
  double Evidence(double same, double complement) const;
  void WriteSequences(int64_t user, const History& own, std::string* text) const;
  void WriteCandidates(int64_t user, const History& own, std::vector<std::string>* texts,
                       UnitFigures* figures) const;

  RandomKey key_;
  bool null_;
  int64_t users_, candidates_, length_, short_, session_min_, session_max_, topics_, items_;
  double half_life_, weight_, bias_;
  int64_t train_users_, valid_users_;
  Permutation ring_;  // The complement of a topic is the next one on this ring.
  int64_t swap_;      // Variant null: the sequence is of user + swap_.
};

LongHistory::LongHistory(const KnobValues& knobs)
    : key_(RandomKey{knobs.seed()}.Derive(0x6c6f6e67)),
      null_(knobs.variant() == "null"),
      users_(knobs.Whole("users")),
      candidates_(knobs.Whole("candidates")),
      length_(knobs.Whole("length")),
      short_(std::min(knobs.Whole("short"), length_)),
      session_min_(knobs.Whole("session_min")),
      session_max_(knobs.Whole("session_max")),
      topics_(knobs.Whole("topics")),
      items_(knobs.Whole("items")),
      half_life_(knobs.Real("half_life")),
      weight_(knobs.Real("weight")),
      bias_(knobs.Real("bias")),
      train_users_(std::max<int64_t>(1, users_ * 80 / 100)),
      valid_users_(users_ * 10 / 100),
      ring_(key_.Derive(kComplement), topics_),
      swap_(users_ < 2 ? 0 : 1 + Draws(key_.Derive(kSwap)).Below(users_ - 1)) {}

std::vector<WorldFile> LongHistory::files() const {
  const std::string columns = "user,item,topic,click";
  return {{"users.csv", "user,items,topics,short_items,short_topics"},
          {"train.csv", columns},
          {"valid.csv", columns},
          {"test.csv", columns + ",oracle,oracle_short,oracle_same,n_same,n_complement"}};
}

std::vector<FigureName> LongHistory::figures() const {
  return {{"oracle_auc", FigureName::kAuc},
          {"short_oracle_auc", FigureName::kAuc},
          {"same_oracle_auc", FigureName::kAuc},
          {"click_rate", FigureName::kMean},
          {"old_share", FigureName::kMean}};
}

int64_t LongHistory::ItemOf(Draws& draws, int64_t topic) const {
  return topic + topics_ * draws.Below((items_ - topic + topics_ - 1) / topics_);
}

int64_t LongHistory::ComplementOf(int64_t topic) const {
  return ring_.At((ring_.Inverse(topic) + 1) % topics_);
}

// Drawn from the newest event back, so that a whole session always ends the history.
History LongHistory::MakeHistory(int64_t user) const {
  Draws draws(key_.Derive(kHistory).Derive(static_cast<uint64_t>(user)));
  History history;
  while (static_cast<int64_t>(history.items.size()) < length_) {
    const int64_t topic = draws.Below(topics_);
    const int64_t session = session_min_ + draws.Below(session_max_ - session_min_ + 1);
    for (int64_t i = 0; i < session && static_cast<int64_t>(history.items.size()) < length_; ++i) {
      history.items.push_back(ItemOf(draws, topic));
      history.topics.push_back(topic);
    }
  }
  std::reverse(history.items.begin(), history.items.end());
  std::reverse(history.topics.begin(), history.topics.end());
  return history;
}

Counts LongHistory::Count(const History& history) const {
  Counts counts;
  for (std::vector<double>* part : {&counts.all, &counts.recent, &counts.old}) {
    part->assign(static_cast<size_t>(topics_), 0.0);
  }
  const double decay = std::exp2(-1.0 / half_life_);
  double weight = 1.0;
  for (int64_t age = 0; age < length_; ++age) {
    const size_t topic =
        static_cast<size_t>(history.topics[static_cast<size_t>(length_ - 1 - age)]);
    counts.all[topic] += weight;
    if (age < short_) counts.recent[topic] += weight;
    if (age >= kOldAge) counts.old[topic] += weight;
    weight *= decay;
  }
  return counts;
}

double LongHistory::Evidence(double same, double complement) const {
  return Sigmoid(weight_ * std::log1p(same) + weight_ * std::log1p(complement) - bias_);
}

void LongHistory::WriteSequences(int64_t user, const History& own, std::string* text) const {
  const History* shown = &own;
  History other;
  if (null_) {
    other = MakeHistory((user + swap_) % users_);
    shown = &other;
  }
  const size_t recent = static_cast<size_t>(short_);
  RowText row(text);
  row.Integer(user).List(shown->items).List(shown->topics);
  row.List(std::span<const int64_t>(own.items).last(recent));
  row.List(std::span<const int64_t>(own.topics).last(recent)).End();
}

void LongHistory::WriteCandidates(int64_t user, const History& own, std::vector<std::string>* texts,
                                  UnitFigures* figures) const {
  const File file =
      user < train_users_ ? kTrain : (user < train_users_ + valid_users_ ? kValid : kTest);
  const Counts counts = Count(own);
  Draws draws(key_.Derive(kCandidate).Derive(static_cast<uint64_t>(user)));
  for (int64_t i = 0; i < candidates_; ++i) {
    const size_t topic = static_cast<size_t>(draws.Below(topics_));
    const size_t complement = static_cast<size_t>(ComplementOf(static_cast<int64_t>(topic)));
    const int64_t item = ItemOf(draws, static_cast<int64_t>(topic));
    const double same = counts.all[topic];
    const double other = counts.all[complement];
    const double probability = Evidence(same, other);
    const bool click = draws.Chance(probability);
    RowText row(&(*texts)[file]);
    row.Integer(user).Integer(item).Integer(static_cast<int64_t>(topic)).Integer(click);
    figures->Mean(kClickRate, click);
    if (same + other > 0.0) {
      figures->Mean(kOldShare, (counts.old[topic] + counts.old[complement]) / (same + other));
    }
    if (file == kTest) {
      const double recent = Evidence(counts.recent[topic], counts.recent[complement]);
      const double alone = Evidence(same, 0.0);
      row.Number(probability).Number(recent).Number(alone).Number(same).Number(other);
      figures->Score(kOracle, probability, click);
      figures->Score(kShortOracle, recent, click);
      figures->Score(kSameOracle, alone, click);
    }
    row.End();
  }
}

void LongHistory::WriteUnit(int64_t unit, std::vector<std::string>* texts,
                            UnitFigures* figures) const {
  const int64_t end = std::min(users_, (unit + 1) * kUnitUsers);
  for (int64_t user = unit * kUnitUsers; user < end; ++user) {
    const History own = MakeHistory(user);
    WriteSequences(user, own, &(*texts)[kUsers]);
    WriteCandidates(user, own, texts, figures);
  }
}

std::vector<Knob> KnobList() {
  return {{"users", 20000, 1, 1e10, true, "users of all files"},
          {"candidates", 20, 1, 100000, true, "rows of a user"},
          {"length", 1024, 1, 5e4, true, "events in a history"},
          {"short", 50, 0, 5e4, true, "events in the short history"},
          {"session_min", 16, 1, 1e5, true, "shortest session"},
          {"session_max", 16, 1, 1e5, true, "longest session; 8 and 24: unaligned"},
          {"topics", 100, 2, 1e6, true, "topics"},
          {"items", 3000, 2, 1e9, true, "items"},
          {"half_life", 400, 0.1, 1e9, false, "events in which evidence halves"},
          {"weight", 1.2, -100, 100, false, "of the logarithms of both counts"},
          {"bias", 3.0, -50, 50, false, "subtracted from the logit"}};
}

}  // namespace

WorldKind LongHistoryKind() {
  WorldKind kind;
  kind.name = "long_history";
  kind.summary = "old evidence, half of it in another topic (LREA)";
  kind.knobs = KnobList();
  kind.variants = {{"planted", {}}, {"null", {}}};
  kind.size_knob = "users";
  kind.rows_per_size = [](const KnobValues& knobs) { return 0.8 * knobs.Real("candidates"); };
  kind.make = [](const KnobValues& knobs) -> absl::StatusOr<std::unique_ptr<World>> {
    if (knobs.Real("session_max") < knobs.Real("session_min")) {
      return absl::InvalidArgumentError("knob 'session_max': less than session_min");
    }
    if (knobs.Real("topics") > knobs.Real("items")) {
      return absl::InvalidArgumentError("knob 'topics': more than there are items");
    }
    return std::make_unique<LongHistory>(knobs);
  };
  return kind;
}

}  // namespace pagoda

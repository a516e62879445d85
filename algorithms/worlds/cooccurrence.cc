#include "algorithms/worlds/cooccurrence.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "absl/strings/str_format.h"
#include "algorithms/worlds/draws.h"
#include "algorithms/worlds/row_text.h"

namespace pagoda {
namespace {

constexpr int kLatent = 16;
constexpr int kCentres = 3;
constexpr double kPopularity = 0.8;       // Exponent of popularity over rank.
constexpr double kChoiceOfPopular = 0.3;  // And of the choice over popularity.
constexpr size_t kBlock = 8;              // Candidates weighed at once.
constexpr int64_t kUnitUsers = 256;
constexpr int64_t kCategoryItems = 64;  // Items that stand for a category in its oracle.

enum Stream : uint64_t {
  kCategory = 1,
  kItem,
  kRank,
  kPerson,
  kStep,
  kImpression,
  kSwap,
  kShuffle
};
enum File { kTrain, kValid, kTest, kPretrain, kTransductive };
enum Figure { kOracle, kCategoryOracle, kClickRate };

using Vector = std::array<float, kLatent>;

// Four running sums, so that the additions of neighbours do not wait for one another.
float Dot(const Vector& a, const Vector& b) {
  float sums[4] = {};
  for (size_t i = 0; i < kLatent; i += 4) {
    for (size_t j = 0; j < 4; ++j) sums[j] += a[i + j] * b[i + j];
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// exp(x) for x <= 0.01, to 1e-6 of its size: 2^n as bits of a float, times the Taylor
// polynomial of 2^f around the middle. A sequence needs tens of thousands of them, and this
// one is done eight at a time by the compiler.
inline float ExpOf(float x) {
  const float power = std::max(x * 1.44269504f, -120.0f) + 127.0f;
  const int32_t whole = static_cast<int32_t>(power);
  const float y = (power - static_cast<float>(whole) - 0.5f) * 0.69314718f;
  float sum = 1.0f + y * (1.0f / 6.0f);
  sum = 1.0f + y * (1.0f / 5.0f) * sum;
  sum = 1.0f + y * (1.0f / 4.0f) * sum;
  sum = 1.0f + y * (1.0f / 3.0f) * sum;
  sum = 1.0f + y * (1.0f / 2.0f) * sum;
  sum = 1.0f + y * sum;
  return std::bit_cast<float>(whole << 23) * 1.41421356f * sum;
}

struct Person {
  std::array<int64_t, kCentres> centres = {};  // Items whose latents they are.
  int64_t length = 0;
};

class Cooccurrence : public World {
 public:
  explicit Cooccurrence(const KnobValues& knobs);

  std::vector<WorldFile> files() const override;
  std::vector<FigureName> figures() const override;
  int64_t num_units() const override { return (users_ + kUnitUsers - 1) / kUnitUsers; }
  void WriteUnit(int64_t unit, std::vector<std::string>* texts,
                 UnitFigures* figures) const override;
  WorldFacts Facts(const Figures& figures) const override;

 private:
  const Vector& Latent(int64_t item) const { return latents_[static_cast<size_t>(item)]; }
  Person MakePerson(int64_t user) const;
  // The centre that each event of the user is near to.
  std::vector<int64_t> Centres(int64_t user, const Person& person) const;
  int64_t EventNear(int64_t user, int64_t position, int64_t centre) const;
  // One of `candidates_` items at random, by exp(choice_sharpness cos) and, perhaps, popularity.
  int64_t Choose(RandomKey key, int64_t centre, bool popular) const;
  std::vector<int64_t> Sequence(int64_t user) const;
  // As long as the user's sequence, of events of other users' sequences below `users`.
  std::vector<int64_t> SwappedSequence(int64_t user, int64_t users) const;
  double Nearest(const Person& person, int64_t item) const;
  double ClickProbability(const Person& person, int64_t item) const;
  double CategoryProbability(const Person& person, int64_t category) const;
  void WriteRow(int64_t user, const std::vector<int64_t>& items, std::string* text) const;
  void WriteImpression(int64_t user, const std::vector<int64_t>& items, int64_t number, File file,
                       std::string* text, UnitFigures* figures) const;
  void WritePretraining(int64_t user, const std::vector<int64_t>& items,
                        std::vector<std::string>* texts) const;
  File FileOf(int64_t user) const {
    return user < train_users_ ? kTrain : (user < train_users_ + valid_users_ ? kValid : kTest);
  }

  RandomKey key_;
  bool null_;
  int64_t users_, impressions_, test_impressions_, items_, categories_;
  int64_t length_min_, length_max_, candidates_;
  double stickiness_, choice_sharpness_, sharpness_, flips_;
  int64_t train_users_, valid_users_;
  std::vector<Vector> latents_;    // Of length 1: only their directions count.
  std::vector<float> popularity_;  // popularity^0.3, by item.
};

Cooccurrence::Cooccurrence(const KnobValues& knobs)
    : key_(RandomKey{knobs.seed()}.Derive(0x636f6f63)),
      null_(knobs.variant() == "null"),
      users_(knobs.Whole("users")),
      impressions_(knobs.Whole("impressions")),
      test_impressions_(knobs.Whole("test_impressions")),
      items_(knobs.Whole("items")),
      categories_(knobs.Whole("categories_count")),
      length_min_(knobs.Whole("length_min")),
      length_max_(knobs.Whole("length_max")),
      candidates_(knobs.Whole("candidates")),
      stickiness_(knobs.Real("stickiness")),
      choice_sharpness_(knobs.Real("choice_sharpness")),
      sharpness_(knobs.Real("sharpness")),
      flips_(knobs.Real("flips")),
      train_users_(std::max<int64_t>(1, users_ * 80 / 100)),
      valid_users_(users_ * 5 / 100) {
  const Permutation ranks(key_.Derive(kRank), items_);
  for (int64_t item = 0; item < items_; ++item) {
    Draws category(key_.Derive(kCategory).Derive(static_cast<uint64_t>(item % categories_)));
    Draws own(key_.Derive(kItem).Derive(static_cast<uint64_t>(item)));
    std::array<double, kLatent> latent;
    double squares = 0.0;
    for (double& value : latent) {
      value = category.Normal() + knobs.Real("item_spread") * own.Normal();
      squares += value * value;
    }
    Vector direction;
    for (size_t k = 0; k < kLatent; ++k) {
      direction[k] = static_cast<float>(latent[k] / std::sqrt(squares));
    }
    latents_.push_back(direction);
    const double rank = static_cast<double>(ranks.At(item) + 1);
    popularity_.push_back(static_cast<float>(std::pow(rank, -kPopularity * kChoiceOfPopular)));
  }
}

std::vector<WorldFile> Cooccurrence::files() const {
  const std::string columns = "user,items,categories,item,category,click";
  return {{"train.csv", columns},
          {"valid.csv", columns},
          {"test.csv", columns + ",oracle,category_oracle,nearest"},
          {"pretrain.csv", columns},
          {"pretrain_transductive.csv", columns}};
}

std::vector<FigureName> Cooccurrence::figures() const {
  return {{"oracle_auc", FigureName::kAuc},
          {"category_oracle_auc", FigureName::kAuc},
          {"click_rate", FigureName::kMean}};
}

Person Cooccurrence::MakePerson(int64_t user) const {
  Draws draws(key_.Derive(kPerson).Derive(static_cast<uint64_t>(user)));
  Person person;
  for (int64_t& centre : person.centres) centre = draws.Below(items_);
  person.length = length_min_ + draws.Below(length_max_ - length_min_ + 1);
  return person;
}

std::vector<int64_t> Cooccurrence::Centres(int64_t user, const Person& person) const {
  Draws draws(key_.Derive(kStep).Derive(static_cast<uint64_t>(user)));
  std::vector<int64_t> centres;
  int64_t current = draws.Below(kCentres);
  for (int64_t position = 0; position < person.length; ++position) {
    const bool stays = draws.Chance(stickiness_);
    const int64_t next = draws.Below(kCentres);
    if (!stays) current = next;
    centres.push_back(person.centres[static_cast<size_t>(current)]);
  }
  return centres;
}

int64_t Cooccurrence::Choose(RandomKey key, int64_t centre, bool popular) const {
  thread_local std::vector<float> sums;
  thread_local std::vector<int32_t> chosen;
  const size_t blocks = (static_cast<size_t>(candidates_) + kBlock - 1) / kBlock;
  sums.resize(blocks * kBlock);
  chosen.resize(blocks * kBlock);
  const Vector& towards = Latent(centre);
  const float sharpness = static_cast<float>(choice_sharpness_);
  float sum = 0.0f;
  for (size_t block = 0; block < blocks; ++block) {
    float weights[kBlock];
    float popularity[kBlock];
    for (size_t i = 0; i < kBlock; ++i) {
      const size_t number = block * kBlock + i;
      const uint64_t item = RandomBelow(key, number, static_cast<uint64_t>(items_));
      chosen[number] = static_cast<int32_t>(item);
      weights[i] = sharpness * (Dot(latents_[item], towards) - 1.0f);
      popularity[i] = popular ? popularity_[item] : 1.0f;
    }
    for (float& weight : weights) weight = ExpOf(weight);
    for (size_t i = 0; i < kBlock; ++i)
      sums[block * kBlock + i] = sum += weights[i] * popularity[i];
  }
  const size_t count = static_cast<size_t>(candidates_);
  // The last block may have drawn more than was asked for.
  const float target = RandomUniform(key, sums.size()) * sums[count - 1];
  const auto end = sums.begin() + static_cast<std::ptrdiff_t>(count);
  const auto found = std::upper_bound(sums.begin(), end, target);
  return chosen[std::min<size_t>(static_cast<size_t>(found - sums.begin()), count - 1)];
}

int64_t Cooccurrence::EventNear(int64_t user, int64_t position, int64_t centre) const {
  const RandomKey key = key_.Derive(kStep).Derive(static_cast<uint64_t>(user));
  return Choose(key.Derive(static_cast<uint64_t>(position)), centre, true);
}

std::vector<int64_t> Cooccurrence::Sequence(int64_t user) const {
  std::vector<int64_t> items;
  const std::vector<int64_t> centres = Centres(user, MakePerson(user));
  for (size_t position = 0; position < centres.size(); ++position) {
    items.push_back(EventNear(user, static_cast<int64_t>(position), centres[position]));
  }
  return items;
}

std::vector<int64_t> Cooccurrence::SwappedSequence(int64_t user, int64_t users) const {
  Draws draws(key_.Derive(kSwap).Derive(static_cast<uint64_t>(user)));
  std::vector<int64_t> items;
  const int64_t length = MakePerson(user).length;
  while (static_cast<int64_t>(items.size()) < length) {
    const int64_t other = draws.Below(users);
    const std::vector<int64_t> centres = Centres(other, MakePerson(other));
    const int64_t position = draws.Below(static_cast<int64_t>(centres.size()));
    items.push_back(EventNear(other, position, centres[static_cast<size_t>(position)]));
  }
  return items;
}

double Cooccurrence::Nearest(const Person& person, int64_t item) const {
  float nearest = -1.0f;
  for (const int64_t centre : person.centres) {
    nearest = std::max(nearest, Dot(Latent(item), Latent(centre)));
  }
  return nearest;
}

double Cooccurrence::ClickProbability(const Person& person, int64_t item) const {
  const double sure = Sigmoid(sharpness_ * (Nearest(person, item) - 0.5));
  return (1.0 - flips_) * sure + flips_ * (1.0 - sure);
}

double Cooccurrence::CategoryProbability(const Person& person, int64_t category) const {
  double sum = 0.0;
  int64_t count = 0;
  for (int64_t item = category; item < items_ && count < kCategoryItems; item += categories_) {
    sum += ClickProbability(person, item);
    ++count;
  }
  return sum / static_cast<double>(count);
}

void Cooccurrence::WriteRow(int64_t user, const std::vector<int64_t>& items,
                            std::string* text) const {
  std::vector<int64_t> categories;
  for (const int64_t item : items) categories.push_back(item % categories_);
  RowText row(text);
  row.Integer(user).List(items).List(categories).Word("").Word("").Integer(0).End();
}

void Cooccurrence::WriteImpression(int64_t user, const std::vector<int64_t>& items, int64_t number,
                                   File file, std::string* text, UnitFigures* figures) const {
  const Person person = MakePerson(user);
  const RandomKey key = key_.Derive(kImpression).Derive(static_cast<uint64_t>(user));
  const RandomKey own = key.Derive(static_cast<uint64_t>(number));
  Draws draws(own);
  const int64_t centre = person.centres[static_cast<size_t>(draws.Below(kCentres))];
  const int64_t any = draws.Below(items_);
  const int64_t item = draws.Chance(0.5) ? any : Choose(own.Derive(1), centre, false);
  const double probability = ClickProbability(person, item);
  const bool click = draws.Chance(probability);
  std::vector<int64_t> categories;
  for (const int64_t event : items) categories.push_back(event % categories_);
  RowText row(text);
  row.Integer(user).List(items).List(categories).Integer(item).Integer(item % categories_);
  row.Integer(click);
  figures->Mean(kClickRate, click);
  if (file == kTest) {
    const double category = CategoryProbability(person, item % categories_);
    row.Number(probability).Number(category).Number(Nearest(person, item));
    figures->Score(kOracle, probability, click);
    figures->Score(kCategoryOracle, category, click);
  }
  row.End();
}

void Cooccurrence::WritePretraining(int64_t user, const std::vector<int64_t>& items,
                                    std::vector<std::string>* texts) const {
  const bool train = FileOf(user) == kTrain;
  if (!null_) {
    if (train) WriteRow(user, items, &(*texts)[kPretrain]);
    WriteRow(user, items, &(*texts)[kTransductive]);
    return;
  }
  const std::vector<int64_t> swapped = SwappedSequence(user, train ? train_users_ : users_);
  if (train) WriteRow(user, swapped, &(*texts)[kPretrain]);
  WriteRow(user, swapped, &(*texts)[kTransductive]);
}

void Cooccurrence::WriteUnit(int64_t unit, std::vector<std::string>* texts,
                             UnitFigures* figures) const {
  const size_t begin = (*texts)[kTrain].size();
  const int64_t end = std::min(users_, (unit + 1) * kUnitUsers);
  for (int64_t user = unit * kUnitUsers; user < end; ++user) {
    const std::vector<int64_t> items = Sequence(user);
    const File file = FileOf(user);
    const bool of_test = file == kTest && test_impressions_ > 0;
    for (int64_t i = 0; i < (of_test ? test_impressions_ : impressions_); ++i) {
      WriteImpression(user, items, i, file, &(*texts)[file], figures);
    }
    WritePretraining(user, items, texts);
  }
  const RandomKey shuffle = key_.Derive(kShuffle).Derive(static_cast<uint64_t>(unit));
  ShuffleRows(shuffle, begin, &(*texts)[kTrain]);
}

WorldFacts Cooccurrence::Facts(const Figures& figures) const {
  const double validity = figures.At(kOracle) - figures.At(kCategoryOracle);
  if (std::isnan(validity)) return {};
  return {{"validity", absl::StrFormat("%.6f", validity)}};
}

std::vector<Knob> KnobList() {
  return {{"users", 60000, 1, 1e10, true, "users of all files"},
          {"impressions", 2, 1, 1000, true, "labelled rows of a user"},
          {"test_impressions", 0, 0, 1000, true, "those of a user of test.csv; 0: as many"},
          {"items", 20000, 2, 1e8, true, "items"},
          {"categories_count", 200, 1, 1e6, true, "categories"},
          {"item_spread", 0.7, 0, 100, false, "spread of items in a category of spread 1"},
          {"length_min", 30, 1, 10000, true, "shortest sequence"},
          {"length_max", 60, 1, 10000, true, "longest sequence"},
          {"stickiness", 0.9, 0, 1, false, "chance that the next event keeps the centre"},
          {"choice_sharpness", 6.0, 0, 50, false, "how near to the centre events are"},
          {"candidates", 512, 1, 100000, true, "items that an event is chosen from"},
          {"sharpness", 8.0, 0, 100, false, "how sharply the label follows the cosine"},
          {"flips", 0.05, 0, 0.5, false, "share of labels turned round"}};
}

}  // namespace

WorldKind CooccurrenceKind() {
  WorldKind kind;
  kind.name = "cooccurrence";
  kind.summary = "much co-occurrence, few labels (GPSD)";
  kind.knobs = KnobList();
  kind.variants = {{"planted", {}}, {"null", {}}};
  kind.size_knob = "users";
  kind.rows_per_size = [](const KnobValues& knobs) { return 0.8 * knobs.Real("impressions"); };
  kind.make = [](const KnobValues& knobs) -> absl::StatusOr<std::unique_ptr<World>> {
    if (knobs.Real("length_max") < knobs.Real("length_min")) {
      return absl::InvalidArgumentError("knob 'length_max': less than length_min");
    }
    if (knobs.Real("categories_count") > knobs.Real("items")) {
      return absl::InvalidArgumentError("knob 'categories_count': more than there are items");
    }
    return std::make_unique<Cooccurrence>(knobs);
  };
  return kind;
}

}  // namespace pagoda

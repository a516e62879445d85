#include "algorithms/worlds/world.h"

#include <catch2/catch.hpp>

#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "tests/algorithms/worlds/generated_world.h"

namespace pagoda {
namespace {

// Every world, small: of several units, the last one not full.
std::vector<std::string> SmallKnobs(const std::string& name) {
  if (name == "attention_habit") return {"users=1100", "train_days=2", "test_users=30"};
  if (name == "stock_sale") return {"users=1030", "limited_slots=5", "deep_rows=3"};
  if (name == "multi_hot") return {"train_rows=5000", "valid_rows=1", "test_rows=100", "ids=50"};
  if (name == "cooccurrence") {
    return {"users=300",     "items=500",    "categories_count=20",
            "candidates=20", "length_min=3", "length_max=5"};
  }
  return {"users=70", "length=40", "session_min=3", "session_max=5", "short=10", "topics=7"};
}

std::vector<std::string> UnitText(const World& world, int64_t unit) {
  std::vector<std::string> texts(world.files().size());
  UnitFigures figures;
  world.WriteUnit(unit, &texts, &figures);
  return texts;
}

TEST_CASE("a unit's text depends on world, seed, knobs and its number alone") {
  for (const WorldKind& kind : AllWorlds()) {
    INFO(kind.name);
    const auto world = MakeWorld(kind.name, 3, SmallKnobs(kind.name));
    const auto same = MakeWorld(kind.name, 3, SmallKnobs(kind.name));
    const auto other = MakeWorld(kind.name, 4, SmallKnobs(kind.name));
    REQUIRE(world->num_units() >= 2);
    // The other way round, so that a unit cannot lean on the one before.
    for (int64_t unit = world->num_units() - 1; unit >= 0; --unit) {
      CHECK(UnitText(*world, unit) == UnitText(*same, unit));
      CHECK(UnitText(*world, unit) != UnitText(*other, unit));
    }
    // What is there already stays.
    std::vector<std::string> texts(world->files().size(), "x\n");
    UnitFigures figures;
    world->WriteUnit(0, &texts, &figures);
    for (size_t i = 0; i < texts.size(); ++i) {
      CHECK(texts[i] == "x\n" + UnitText(*world, 0)[i]);
    }
  }
}

TEST_CASE("variants differ, and every one can be made") {
  for (const WorldKind& kind : AllWorlds()) {
    std::vector<std::vector<std::string>> texts;
    for (const Variant& variant : kind.variants) {
      std::vector<std::string> knobs = SmallKnobs(kind.name);
      knobs.push_back("variant=" + variant.name);
      texts.push_back(UnitText(*MakeWorld(kind.name, 3, knobs), 0));
      INFO(kind.name << " " << variant.name);
      CHECK((texts.size() == 1 || texts.back() != texts.front()));
    }
    CHECK(texts.size() >= 2);
  }
}

TEST_CASE("--rows sets the size that gives about so many rows of training") {
  for (const WorldKind& kind : AllWorlds()) {
    const auto knobs = MakeKnobs(kind, 1, SmallKnobs(kind.name), 3000);
    REQUIRE(knobs.ok());
    std::vector<std::string> sized = SmallKnobs(kind.name);
    sized.push_back(kind.size_knob + "=" + std::to_string(knobs->Whole(kind.size_knob)));
    const double rows = static_cast<double>(Generate(kind.name, 1, sized)["train"].rows());
    INFO(kind.name << " " << rows);
    CHECK(rows > 0.85 * 3000);
    CHECK(rows < 1.15 * 3000);
  }
  const auto too_many = MakeKnobs(AllWorlds()[0], 1, {}, int64_t{1} << 60);
  CHECK(absl::StrContains(std::string(too_many.status().message()), "--rows"));
}

TEST_CASE("an unknown world is refused with the nearest name") {
  const auto found = FindWorld("stock_sales");
  CHECK(found.status().code() == absl::StatusCode::kNotFound);
  CHECK(absl::StrContains(std::string(found.status().message()),
                          "unknown world 'stock_sales'; did you mean 'stock_sale'?"));
  CHECK(absl::StrContains(std::string(FindWorld("").status().message()), "attention_habit, "));
}

TEST_CASE("knobs that do not go together are refused") {
  const auto refused = [](const std::string& name, const std::string& knob) {
    const auto kind = FindWorld(name);
    REQUIRE(kind.ok());
    const auto knobs = MakeKnobs(**kind, 1, {knob}, 0);
    REQUIRE(knobs.ok());
    CHECK((*kind)->make(*knobs).status().code() == absl::StatusCode::kInvalidArgument);
  };
  refused("stock_sale", "liked=21");
  refused("multi_hot", "ids_min=9");
  refused("multi_hot", "ids=10");
  refused("cooccurrence", "length_max=29");
  refused("cooccurrence", "items=100");
  refused("long_history", "session_min=17");
  refused("long_history", "items=99");
}

TEST_CASE("docs/worlds.md names every world, variant, knob, column and figure") {
  std::ifstream file(std::string(PAGODA_SOURCE_DIR) + "/docs/worlds.md");
  std::stringstream text;
  text << file.rdbuf();
  const std::string all = text.str();
  for (const WorldKind& kind : AllWorlds()) {
    const size_t begin = all.find("\n## " + kind.name + "\n");
    REQUIRE(begin != std::string::npos);
    const std::string section = all.substr(begin, all.find("\n## ", begin + 4) - begin);
    const auto has = [&](const std::string& word) {
      INFO(kind.name << ": " << word);
      CHECK(absl::StrContains(section, "`" + word + "`"));
    };
    for (const Knob& knob : kind.knobs) has(knob.name);
    const auto world = MakeWorld(kind.name, 1, SmallKnobs(kind.name));
    for (const WorldFile& written : world->files()) {
      has(written.name);
      for (absl::string_view column : absl::StrSplit(written.header, ',')) {
        has(std::string(column));
      }
    }
    for (const FigureName& figure : world->figures()) has(figure.name);
  }
}

}  // namespace
}  // namespace pagoda

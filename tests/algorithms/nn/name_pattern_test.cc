#include "algorithms/nn/name_pattern.h"

#include <catch2/catch.hpp>

namespace pagoda {
namespace {

using Catch::Matchers::Contains;

std::string Map(const std::string& pattern, const std::string& name) {
  const auto parsed = NamePattern::Parse(pattern, true);
  INFO(pattern << " " << parsed.status());
  REQUIRE(parsed.ok());
  return parsed->Map(name).value_or("(no)");
}

Declaration Model() {
  Declaration declaration;
  for (const char* name : {"movie", "movie_deep", "user"}) {
    declaration.tables.push_back({.name = name, .dim = 4});
  }
  declaration.dense = {{.name = "deep.0.weight", .shape = {2, 2}},
                       {.name = "deep.0.bias", .shape = {2}},
                       {.name = "head.weight", .shape = {1, 2}, .group = "top"},
                       {.name = "user", .shape = {1}}};
  return declaration;
}

// The chosen names, tables with a "t:" before them.
std::string Chosen(const std::vector<std::string>& patterns) {
  const Declaration model = Model();
  const auto selection = SelectNames(patterns, model, "freeze");
  if (!selection.ok()) return std::string(selection.status().message());
  std::string names;
  for (size_t i = 0; i < model.tables.size(); ++i) {
    if (selection->tables[i]) names += "t:" + model.tables[i].name + " ";
  }
  for (size_t i = 0; i < model.dense.size(); ++i) {
    if (selection->dense[i]) names += model.dense[i].name + " ";
  }
  return names;
}

TEST_CASE("a star stands for any text, and everything else for itself") {
  CHECK(Map("deep.0.weight", "deep.0.weight") == "deep.0.weight");
  CHECK(Map("deep.0.weight", "deep.0.weight2") == "(no)");
  CHECK(Map("deep.*", "deep.0.weight") == "deep.0.weight");
  CHECK(Map("deep.*", "deep") == "(no)");
  CHECK(Map("deep*", "deep") == "deep");
  CHECK(Map("*", "") == "");
  CHECK(Map("*.weight", "deep.0.weight") == "deep.0.weight");
  CHECK(Map("*.weight", "deep.0.bias") == "(no)");
  CHECK(Map("a*b*c", "a1b2b3c") == "a1b2b3c");
  CHECK(Map("a*b*c", "a1b2b3") == "(no)");
  CHECK(Map("a.b", "axb") == "(no)");
}

TEST_CASE("a rename puts what the stars stood for into its right side") {
  CHECK(Map("tower.* -> user.*", "tower.0.weight") == "user.0.weight");
  CHECK(Map("movie -> movie_deep", "movie") == "movie_deep");
  CHECK(Map("*.a.*->*.b.*", "x.a.y") == "x.b.y");
  CHECK(Map("old.* -> new", "old.1") == "new");
  for (const auto& [text, word] :
       std::vector<std::pair<std::string, std::string>>{{"", "names nothing"},
                                                        {"!", "names nothing"},
                                                        {"a -> ", "nothing behind"},
                                                        {"!a -> b", "both '!' and '->'"},
                                                        {"a -> b.*", "more '*'"}}) {
    CAPTURE(text);
    const auto parsed = NamePattern::Parse(text, true);
    REQUIRE(absl::IsInvalidArgument(parsed.status()));
    CHECK_THAT(std::string(parsed.status().message()), Contains(word));
  }
  CHECK_THAT(std::string(NamePattern::Parse("a -> b", false).status().message()),
             Contains("only 'load'"));
}

TEST_CASE("patterns choose tables and dense parameters, later ones over earlier ones") {
  CHECK(Chosen({}) == "");
  CHECK(Chosen({"movie"}) == "t:movie ");
  CHECK(Chosen({"movie*"}) == "t:movie t:movie_deep ");
  CHECK(Chosen({"user"}) == "t:user user ");
  CHECK(Chosen({"table:user"}) == "t:user ");
  CHECK(Chosen({"dense:user"}) == "user ");
  CHECK(Chosen({"group:top"}) == "head.weight ");
  CHECK(Chosen({"group:default", "!user"}) == "deep.0.weight deep.0.bias ");
  CHECK(Chosen({"*", "!table:*", "!deep.*"}) == "head.weight user ");
  CHECK(Chosen({"*", "!movie*", "movie"}) ==
        "t:movie t:user deep.0.weight deep.0.bias head.weight user ");
}

TEST_CASE("a pattern that names nothing is an error, with the nearest name") {
  CHECK_THAT(Chosen({"movi"}), Contains("freeze: \"movi\" names no table") && Contains("'movie'"));
  CHECK_THAT(Chosen({"movie", "nothing.*"}), Contains("\"nothing.*\" names no table"));
  CHECK_THAT(Chosen({"top"}), Contains("names no table"));  // A group needs its "group:".
  const auto lenient = MatchNames({"nothing"}, Model());
  REQUIRE(lenient.ok());
  CHECK(lenient->tables == std::vector<bool>(3, false));
}

}  // namespace
}  // namespace pagoda

#include "algorithms/nn/declaration.h"

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

FeatureSchema TwoSparse() {
  FeatureSchema schema;
  schema.features.resize(2);
  schema.features[0].name = "a";
  schema.features[1].name = "b";
  return schema;
}

Declaration Good() {
  Declaration declaration;
  declaration.AddTable({.name = "a", .dim = 4});
  declaration.AddTable({.name = "b", .dim = 4});
  declaration.AddLookup({.features = {0, 1}, .tables = {0, 1}});
  declaration.AddDense({.name = "w", .shape = {2}});
  return declaration;
}

TEST_CASE("a known table name returns its handle") {
  Declaration declaration;
  REQUIRE(declaration.AddTable({.name = "a", .dim = 4}).index == 0);
  REQUIRE(declaration.AddTable({.name = "b", .dim = 4}).index == 1);
  REQUIRE(declaration.AddTable({.name = "a", .dim = 4}).index == 0);
  REQUIRE(declaration.tables.size() == 2);
}

TEST_CASE("a table has statistics when any lookup of it, or its negatives, ask for them") {
  Declaration declaration;
  for (const char* name : {"a", "b", "c", "d"}) declaration.AddTable({.name = name, .dim = 2});
  CHECK(declaration.TablesWithStatistics() == std::vector<bool>(4, false));
  declaration.AddLookup({.features = {0, 1}, .tables = {0, 1}});
  declaration.AddLookup({.features = {1}, .tables = {1}, .sequence = true, .statistics = true});
  NegativesDecl plain, counted;
  plain.table = 2;
  counted.table = 3;
  counted.statistics = true;
  declaration.AddNegatives(plain);
  const NegativesHandle negatives = declaration.AddNegatives(counted);
  CHECK(declaration.lookups[static_cast<size_t>(declaration.LookupOf(negatives).index)].statistics);
  CHECK(declaration.TablesWithStatistics() == std::vector<bool>{false, true, false, true});
}

TEST_CASE("CheckDeclaration passes what is right and names what is wrong") {
  REQUIRE(CheckDeclaration(TwoSparse(), Good()).ok());
  REQUIRE(CheckDeclaration(FeatureSchema(), Declaration()).ok());
  const auto refused = [](const Declaration& declaration, const std::string& word) {
    RequireInvalid(CheckDeclaration(TwoSparse(), declaration), word);
  };
  Declaration d = Good();
  d.tables[1].name = "a";
  refused(d, "two tables named 'a'");
  d = Good();
  d.tables[0].dim = 0;
  refused(d, "table 'a'");
  d = Good();
  d.tables[0].init_zero_columns = 5;
  refused(d, "5 columns");
  d = Good();
  d.AddDense({.name = "w", .shape = {3}});
  refused(d, "two parameters named 'w'");
  d = Good();
  d.tables[1].dim = 8;
  refused(d, "mixes table 'a' of dimension 4 with table 'b' of dimension 8");
  d = Good();
  d.lookups[0].features[1] = 2;
  refused(d, "sparse feature 2 of 2");
  d = Good();
  d.lookups[0].tables[1] = -1;
  refused(d, "table -1 of 2");
  d = Good();
  d.lookups[0].tables.pop_back();
  refused(d, "2 features but 1 tables");
  d = Good();
  d.lookups[0].sequence = true;
  refused(d, "exactly one");
  d = Good();
  d.AddLookup({});
  refused(d, "lookup 1 has no features");
}

}  // namespace
}  // namespace pagoda

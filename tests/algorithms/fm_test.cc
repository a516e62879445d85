#include "tests/algorithms/fm_formula.h"
#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

TEST_CASE("fm: prediction, loss and every gradient follow the formula") {
  CheckLogitModel("fm", {{"embedding_dim", int64_t{3}}, {"l2", 0.2}}, FmLogit, 0.2);
}

TEST_CASE("fm keeps the linear weight in front of the embedding, starting at zero") {
  const ModelHarness harness("fm", {{"embedding_dim", int64_t{3}}}, SmallSchema(true));
  REQUIRE(harness.declaration().tables.size() == 3);  // friends share table user
  for (const TableDecl& table : harness.declaration().tables) {
    REQUIRE(table.dim == 4);
    REQUIRE(table.init_zero_columns == 1);
  }
}

}  // namespace
}  // namespace pagoda

#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

const Options kOptions = {{"embedding_dim", int64_t{3}},
                          {"hidden", std::vector<int64_t>{4, 2}},
                          {"activation", std::string("tanh")},
                          {"wide_optimizer", std::string("adagrad")}};

TEST_CASE("wide_deep: prediction, loss and every gradient follow the formula") {
  CheckLogitModel("wide_deep", kOptions, [](const Oracle& o, size_t i) {
    double z = o.LinearTerm("wide", i);
    for (size_t f = 0; f < o.num_sparse(); ++f) z += o.Pooled(i, f, ".wide")[0];
    Oracle::Vector x = o.Dense(i);
    for (size_t f = 0; f < o.num_sparse(); ++f) x = Join(x, o.Pooled(i, f));
    return z + o.Linear("out", o.Mlp("deep", 2, x))[0];
  });
}

TEST_CASE("wide_deep gives the wide tables their own optimizer and a zero start") {
  const auto wide_tables = [](const Options& options) {
    const ModelHarness harness("wide_deep", options, SmallSchema(true));
    std::vector<TableDecl> wide;
    for (const TableDecl& table : harness.declaration().tables) {
      if (table.dim == 1) wide.push_back(table);
    }
    return wide;
  };
  for (const TableDecl& table : wide_tables(kOptions)) {
    REQUIRE(table.name.find(".wide") != std::string::npos);
    REQUIRE(table.optimizer == "adagrad");
    REQUIRE(table.init_stddev == 0.0f);
  }
  REQUIRE(wide_tables({}).size() == 3);
  REQUIRE(wide_tables({})[0].optimizer == "ftrl");
}

}  // namespace
}  // namespace pagoda

#include "tests/algorithms/example_model.h"

#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

TEST_CASE("the example of docs/adding_a_model.md follows its formula") {
  const Options options = {{"embedding_dim", int64_t{3}},
                           {"hidden", std::vector<int64_t>{4}},
                           {"activation", std::string("tanh")}};
  for (bool numeric : {true, false}) {
    const ModelHarness harness(NeuralFmModelInfo(), options, SmallSchema(numeric));
    CheckAgainstOracle(harness, SmallBatch(harness.schema(), 5, 3), [](const Oracle& o) {
      return MeanLogLoss(o, [&](size_t i) {
        double z = o.LinearTerm("linear", i);
        Oracle::Vector pooled(3);
        for (size_t f = 0; f < o.num_sparse(); ++f) {
          const Oracle::Vector a = o.Pooled(i, f);
          z += a[0];
          for (size_t g = 0; g < f; ++g) {
            const Oracle::Vector b = o.Pooled(i, g);
            for (size_t c = 0; c < 3; ++c) pooled[c] += a[c + 1] * b[c + 1];
          }
        }
        return z + o.Linear("out", o.Mlp("deep", 1, pooled))[0];
      });
    });
  }
}

}  // namespace
}  // namespace pagoda

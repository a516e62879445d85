#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

Oracle::Vector Cross(const Oracle& o, const Oracle::Vector& x0, bool low_rank) {
  Oracle::Vector x = x0;
  for (const char* name : {"cross.0", "cross.1"}) {
    const Oracle::Vector u = o.Linear(name, low_rank ? o.Linear(std::string(name) + ".v", x) : x);
    for (size_t c = 0; c < x.size(); ++c) x[c] += x0[c] * u[c];
  }
  return x;
}

TEST_CASE("dcnv2: prediction, loss and every gradient follow the formula") {
  for (bool low_rank : {false, true}) {
    for (bool parallel : {false, true}) {
      CAPTURE(low_rank, parallel);
      const Options options = {{"embedding_dim", int64_t{2}},
                               {"hidden", std::vector<int64_t>{4, 3}},
                               {"cross_layers", int64_t{2}},
                               {"low_rank", int64_t{low_rank ? 3 : 0}},
                               {"structure", std::string(parallel ? "parallel" : "stacked")},
                               {"activation", std::string("tanh")},
                               {"l2", 0.1}};
      CheckLogitModel(
          "dcnv2", options,
          [&](const Oracle& o, size_t i) {
            const Oracle::Vector x0 = o.FlatInputs(i);
            const Oracle::Vector crossed = Cross(o, x0, low_rank);
            return o.Linear("out", parallel ? Join(crossed, o.Mlp("deep", 2, x0))
                                            : o.Mlp("deep", 2, crossed))[0];
          },
          0.1);
    }
  }
}

}  // namespace
}  // namespace pagoda

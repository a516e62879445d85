#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

TEST_CASE("dcn: prediction, loss and every gradient follow the formula") {
  const Options options = {{"embedding_dim", int64_t{2}},
                           {"hidden", std::vector<int64_t>{4, 3}},
                           {"cross_layers", int64_t{2}},
                           {"activation", std::string("tanh")},
                           {"l2", 0.1}};
  CheckLogitModel(
      "dcn", options,
      [](const Oracle& o, size_t i) {
        const Oracle::Vector x0 = o.FlatInputs(i);
        Oracle::Vector x = x0;
        for (const char* name : {"cross.0", "cross.1"}) {
          const double xw = Dot(x, o.Get(std::string(name) + ".weight"));
          const Oracle::Vector& b = o.Get(std::string(name) + ".bias");
          for (size_t c = 0; c < x.size(); ++c) x[c] += x0[c] * xw + b[c];
        }
        return o.Linear("out", Join(x, o.Mlp("deep", 2, x0)))[0];
      },
      0.1);
}

}  // namespace
}  // namespace pagoda

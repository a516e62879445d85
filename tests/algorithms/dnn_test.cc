#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

TEST_CASE("dnn: prediction, loss and every gradient follow the formula") {
  for (size_t num_layers : {0, 1, 3}) {
    CAPTURE(num_layers);
    const Options options = {{"embedding_dim", int64_t{2}},
                             {"hidden", std::vector<int64_t>(num_layers, 3)},
                             {"activation", std::string("tanh")},
                             {"l2", 0.1}};
    CheckLogitModel(
        "dnn", options,
        [&](const Oracle& o, size_t i) {
          return o.Linear("out", o.Mlp("deep", num_layers, o.FlatInputs(i)))[0];
        },
        0.1);
  }
}

}  // namespace
}  // namespace pagoda

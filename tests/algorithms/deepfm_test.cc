#include "tests/algorithms/fm_formula.h"
#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

TEST_CASE("deepfm: prediction, loss and every gradient follow the formula") {
  const Options options = {{"embedding_dim", int64_t{3}},
                           {"hidden", std::vector<int64_t>{4, 3}},
                           {"activation", std::string("tanh")},
                           {"l2", 0.1}};
  CheckLogitModel(
      "deepfm", options,
      [](const Oracle& o, size_t i) {
        return FmLogit(o, i) + o.Linear("out", o.Mlp("deep", 2, o.FlatInputs(i, 1)))[0];
      },
      0.1);
}

}  // namespace
}  // namespace pagoda

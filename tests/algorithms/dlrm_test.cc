#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

TEST_CASE("dlrm: prediction, loss and every gradient follow the formula") {
  const Options options = {{"embedding_dim", int64_t{3}},
                           {"bottom_hidden", std::vector<int64_t>{2}},
                           {"hidden", std::vector<int64_t>{4, 3}},
                           {"activation", std::string("tanh")},
                           {"l2", 0.1}};
  CheckLogitModel(
      "dlrm", options,
      [](const Oracle& o, size_t i) {
        // Without numeric features a learned constant stands in the bottom's place.
        const Oracle::Vector dense = o.Dense(i);
        const Oracle::Vector bottom =
            dense.empty() ? o.Get("bottom.constant") : o.Mlp("bottom", 2, dense);
        std::vector<Oracle::Vector> vectors = {bottom};
        for (size_t f = 0; f < o.num_sparse(); ++f) vectors.push_back(o.Pooled(i, f));
        Oracle::Vector top = bottom;
        for (size_t a = 0; a < vectors.size(); ++a) {
          for (size_t b = 0; b < a; ++b) top.push_back(Dot(vectors[a], vectors[b]));
        }
        return o.Linear("out", o.Mlp("top", 2, top))[0];
      },
      0.1);
}

}  // namespace
}  // namespace pagoda

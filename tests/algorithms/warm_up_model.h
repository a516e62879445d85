// A model that reads how often rows were pushed (ForwardInput::RowCount): the "warm-up" of
// rows that are still cold, after meta-embeddings.
//
//   z_f = a_f v_f + (1 - a_f) m_f,   a_f = n_f / (n_f + 5),   logit = bias + w . [z_1 | z_2 | ...]
//
// v_f: a feature's row; n_f: how many pushes it has taken; m_f: what all rows of the feature
// share, a dense parameter. A row that nobody has trained yet reads as m_f alone.
#pragma once

#include <functional>

#include "algorithms/nn/layers.h"
#include "algorithms/nn/model.h"

namespace pagoda {

class WarmUpModel : public Model {
 public:
  // Called in each Forward, when not empty, with the lookup's counts and ages
  // [batch, features].
  using Observe = std::function<void(ForwardInput& input, const Var& count, const Var& age)>;

  explicit WarmUpModel(int64_t dim, Observe observe = nullptr)
      : dim_(dim), observe_(std::move(observe)) {}

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override;
  // Outputs "count.FEATURE" and "age.FEATURE".
  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override;

 private:
  const int64_t dim_;
  const Observe observe_;
  std::vector<std::string> features_;
  LookupHandle rows_;
  DenseHandle shared_;  // [features, dim]
  nn::LinearLayer out_;
};

}  // namespace pagoda

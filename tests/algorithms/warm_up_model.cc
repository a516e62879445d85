#include "tests/algorithms/warm_up_model.h"

#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"

namespace pagoda {

absl::Status WarmUpModel::Declare(const FeatureSchema& schema, Declaration& declaration) {
  PAGODA_RETURN_IF_ERROR(nn::RequireSparse(schema, "warm_up"));
  for (const int feature : schema.SparseFeatures()) {
    features_.push_back(schema.features[static_cast<size_t>(feature)].name);
  }
  const auto num_features = static_cast<int64_t>(features_.size());
  rows_ = nn::DeclareEmbeddings(declaration, schema, nn::AllSparse(schema),
                                {.dim = dim_, .statistics = true});
  shared_ = declaration.AddDense({.name = "shared", .shape = {num_features, dim_}});
  out_ = nn::LinearLayer::Declare(declaration, "out", {num_features * dim_, 1});
  return absl::OkStatus();
}

absl::StatusOr<ForwardOutput> WarmUpModel::Forward(ForwardInput& input) const {
  const int64_t batch = input.batch_size();
  const auto num_features = static_cast<int64_t>(features_.size());
  const int64_t n = batch * num_features;
  const Var count = input.RowCount(rows_);  // [batch, features]
  const Var age = input.RowAge(rows_);
  if (observe_) observe_(input, count, age);
  const Var flat = nn::Reshape(count, {n});
  const Var trust = nn::Divide(flat, nn::Affine(flat, 1.0f, 5.0f));
  std::vector<int32_t> feature_of(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    feature_of[static_cast<size_t>(i)] = static_cast<int32_t>(i % num_features);
  }
  const Var own = nn::ScaleRows(nn::Reshape(input.Lookup(rows_), {n, dim_}), trust);
  const Var shared = nn::ScaleRows(nn::SelectRows(input.Parameter(shared_), feature_of),
                                   nn::Affine(trust, -1.0f, 1.0f));
  const Var x = nn::Reshape(nn::Add(own, shared), {batch, num_features * dim_});
  ForwardOutput output = nn::BinaryOutput(input, nn::Reshape(out_.Apply(input, x), {batch}));
  for (int64_t f = 0; f < num_features; ++f) {
    const std::string& name = features_[static_cast<size_t>(f)];
    const auto column = [&](const Var& all) {
      return nn::Reshape(nn::SliceColumns(all, f, f + 1), {batch});
    };
    output.outputs.push_back({"count." + name, column(count)});
    output.outputs.push_back({"age." + name, column(age)});
  }
  return output;
}

}  // namespace pagoda

#include "algorithms/models.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"

namespace pagoda {
namespace {

class Dcn : public Model {
 public:
  explicit Dcn(const ModelOptions& options) : options_(options) {}

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    PAGODA_ASSIGN_OR_RETURN(const int64_t dim, nn::ParseEmbeddingDim(options_));
    PAGODA_ASSIGN_OR_RETURN(const nn::MlpOptions mlp, nn::ParseMlpOptions(options_));
    PAGODA_ASSIGN_OR_RETURN(l2_, nn::ParseL2(options_));
    PAGODA_ASSIGN_OR_RETURN(const int64_t num_layers, nn::ParseCrossLayers(options_));
    PAGODA_ASSIGN_OR_RETURN(inputs_, nn::FlatInputs::Declare(declaration, schema, dim));
    const int64_t width = inputs_.width();
    for (int64_t i = 0; i < num_layers; ++i) {
      const std::string name = absl::StrCat("cross.", i);
      weights_.push_back(declaration.AddDense({.name = name + ".weight", .shape = {width}}));
      biases_.push_back(declaration.AddDense({.name = name + ".bias",
                                              .shape = {width},
                                              .init = InitKind::kZeros,
                                              .weight_decay = false}));
    }
    deep_ = nn::Mlp::Declare(declaration, "deep", width, mlp);
    out_ = nn::LinearLayer::Declare(declaration, "out", {width + deep_.output_dim(), 1});
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const Var x0 = inputs_.Apply(input);
    Var cross = x0;
    for (size_t i = 0; i < weights_.size(); ++i) {
      cross = nn::CrossV1(x0, cross, input.Parameter(weights_[i]), input.Parameter(biases_[i]));
    }
    const Var both = nn::Concat({cross, deep_.Apply(input, x0)});
    const Var logits = nn::Reshape(out_.Apply(input, both), {input.batch_size()});
    ForwardOutput output = nn::BinaryOutput(input, logits);
    nn::AddL2(input, {inputs_.Embeddings(input)}, l2_, &output);
    return output;
  }

 private:
  ModelOptions options_;
  double l2_ = 0.0;
  nn::FlatInputs inputs_;
  std::vector<DenseHandle> weights_, biases_;  // Per cross layer.
  nn::Mlp deep_;
  nn::LinearLayer out_;
};

}  // namespace

ModelInfo DcnModelInfo() {
  ModelInfo info;
  info.name = "dcn";
  info.summary = "Deep & Cross Network: rank-one cross layers beside a multi-layer perceptron.";
  info.options = nn::MlpOptionSpecs();
  info.options.push_back(nn::CrossLayersOption());
  info.options.push_back(nn::EmbeddingDimOption());
  info.options.push_back(nn::L2Option());
  info.create = [](const ModelOptions& options) { return std::make_unique<Dcn>(options); };
  return info;
}

}  // namespace pagoda

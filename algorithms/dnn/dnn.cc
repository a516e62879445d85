#include "algorithms/models.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"

namespace pagoda {
namespace {

class Dnn : public Model {
 public:
  explicit Dnn(const ModelOptions& options) : options_(options) {}

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    PAGODA_ASSIGN_OR_RETURN(const int64_t dim, nn::ParseEmbeddingDim(options_));
    PAGODA_ASSIGN_OR_RETURN(const nn::MlpOptions mlp, nn::ParseMlpOptions(options_));
    PAGODA_ASSIGN_OR_RETURN(l2_, nn::ParseL2(options_));
    PAGODA_ASSIGN_OR_RETURN(inputs_, nn::FlatInputs::Declare(declaration, schema, dim));
    deep_ = nn::Mlp::Declare(declaration, "deep", inputs_.width(), mlp);
    out_ = nn::LinearLayer::Declare(declaration, "out", {deep_.output_dim(), 1});
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const Var hidden = deep_.Apply(input, inputs_.Apply(input));
    const Var logits = nn::Reshape(out_.Apply(input, hidden), {input.batch_size()});
    ForwardOutput output = nn::BinaryOutput(input, logits);
    nn::AddL2(input, {inputs_.Embeddings(input)}, l2_, &output);
    return output;
  }

 private:
  ModelOptions options_;
  double l2_ = 0.0;
  nn::FlatInputs inputs_;
  nn::Mlp deep_;
  nn::LinearLayer out_;
};

}  // namespace

ModelInfo DnnModelInfo() {
  ModelInfo info;
  info.name = "dnn";
  info.summary = "Embeddings and numeric columns into one multi-layer perceptron.";
  info.options = nn::MlpOptionSpecs();
  info.options.push_back(nn::EmbeddingDimOption());
  info.options.push_back(nn::L2Option());
  info.create = [](const ModelOptions& options) { return std::make_unique<Dnn>(options); };
  return info;
}

}  // namespace pagoda

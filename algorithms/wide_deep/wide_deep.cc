#include "algorithms/models.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"

namespace pagoda {
namespace {

class WideDeep : public Model {
 public:
  explicit WideDeep(const ModelOptions& options) : options_(options) {}

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    PAGODA_RETURN_IF_ERROR(nn::RequireSparse(schema, "wide_deep"));
    PAGODA_ASSIGN_OR_RETURN(const int64_t dim, nn::ParseEmbeddingDim(options_));
    PAGODA_ASSIGN_OR_RETURN(const nn::MlpOptions mlp, nn::ParseMlpOptions(options_));
    PAGODA_ASSIGN_OR_RETURN(l2_, nn::ParseL2(options_));
    PAGODA_ASSIGN_OR_RETURN(inputs_, nn::FlatInputs::Declare(declaration, schema, dim));
    wide_rows_ = nn::DeclareEmbeddings(declaration, schema, nn::AllSparse(schema),
                                       {.dim = 1,
                                        .suffix = ".wide",
                                        .init_stddev = 0.0f,
                                        .optimizer = options_.Get<std::string>("wide_optimizer")});
    wide_ = nn::LinearTerm::Declare(declaration, "wide", schema);
    deep_ = nn::Mlp::Declare(declaration, "deep", inputs_.width(), mlp);
    out_ = nn::LinearLayer::Declare(declaration, "out", {deep_.output_dim(), 1}, /*bias=*/false);
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const Var wide = wide_.Apply(input, nn::Flatten(input.Lookup(wide_rows_)));
    const Var hidden = deep_.Apply(input, inputs_.Apply(input));
    const Var deep = nn::Reshape(out_.Apply(input, hidden), {input.batch_size()});
    ForwardOutput output = nn::BinaryOutput(input, nn::Add(wide, deep));
    nn::AddL2(input, {inputs_.Embeddings(input)}, l2_, &output);
    return output;
  }

 private:
  ModelOptions options_;
  double l2_ = 0.0;
  nn::FlatInputs inputs_;
  LookupHandle wide_rows_;
  nn::LinearTerm wide_;
  nn::Mlp deep_;
  nn::LinearLayer out_;
};

}  // namespace

ModelInfo WideDeepModelInfo() {
  ModelInfo info;
  info.name = "wide_deep";
  info.summary = "A linear model and a multi-layer perceptron, trained jointly.";
  info.options = nn::MlpOptionSpecs();
  info.options.push_back(nn::EmbeddingDimOption());
  info.options.push_back(nn::L2Option());
  info.options.push_back({"wide_optimizer", std::string("ftrl"), "",
                          "Sparse optimizer of the wide weights: ftrl, adagrad, sgd, adam or "
                          "rowwise_adagrad; empty for the job's default."});
  info.create = [](const ModelOptions& options) { return std::make_unique<WideDeep>(options); };
  return info;
}

}  // namespace pagoda

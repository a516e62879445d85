#include "algorithms/models.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"

namespace pagoda {
namespace {

class DeepFm : public Model {
 public:
  explicit DeepFm(const ModelOptions& options) : options_(options) {}

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    PAGODA_RETURN_IF_ERROR(nn::RequireSparse(schema, "deepfm"));
    PAGODA_ASSIGN_OR_RETURN(dim_, nn::ParseEmbeddingDim(options_));
    PAGODA_ASSIGN_OR_RETURN(const nn::MlpOptions mlp, nn::ParseMlpOptions(options_));
    PAGODA_ASSIGN_OR_RETURN(l2_, nn::ParseL2(options_));
    const std::vector<int> sparse = nn::AllSparse(schema);
    rows_ = nn::DeclareEmbeddings(declaration, schema, sparse,
                                  {.dim = 1 + dim_, .init_zero_columns = 1});
    linear_ = nn::LinearTerm::Declare(declaration, "linear", schema);
    const int64_t width = static_cast<int64_t>(sparse.size()) * dim_ +
                          static_cast<int64_t>(schema.DenseFeatures().size());
    deep_ = nn::Mlp::Declare(declaration, "deep", width, mlp);
    out_ = nn::LinearLayer::Declare(declaration, "out", {deep_.output_dim(), 1}, /*bias=*/false);
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const nn::SplitRows rows = nn::LookupSplit(input, rows_, dim_);
    const Var fm = nn::Add(linear_.Apply(input, rows.weights), nn::Fm(rows.embeddings));
    const Var hidden = deep_.Apply(input, nn::ConcatInputs(input.Dense(), rows.embeddings));
    const Var deep = nn::Reshape(out_.Apply(input, hidden), {input.batch_size()});
    ForwardOutput output = nn::BinaryOutput(input, nn::Add(fm, deep));
    nn::AddL2(input, {rows.weights, rows.embeddings}, l2_, &output);
    return output;
  }

 private:
  ModelOptions options_;
  double l2_ = 0.0;
  int64_t dim_ = 0;
  LookupHandle rows_;
  nn::LinearTerm linear_;
  nn::Mlp deep_;
  nn::LinearLayer out_;
};

}  // namespace

ModelInfo DeepFmModelInfo() {
  ModelInfo info;
  info.name = "deepfm";
  info.summary = "A factorisation machine and a multi-layer perceptron over the same embeddings.";
  info.options = nn::MlpOptionSpecs();
  info.options.push_back(nn::EmbeddingDimOption());
  info.options.push_back(nn::L2Option());
  info.create = [](const ModelOptions& options) { return std::make_unique<DeepFm>(options); };
  return info;
}

}  // namespace pagoda

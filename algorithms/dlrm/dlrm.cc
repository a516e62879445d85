#include "algorithms/models.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"

namespace pagoda {
namespace {

class Dlrm : public Model {
 public:
  explicit Dlrm(const ModelOptions& options) : options_(options) {}

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    PAGODA_RETURN_IF_ERROR(nn::RequireSparse(schema, "dlrm"));
    PAGODA_ASSIGN_OR_RETURN(dim_, nn::ParseEmbeddingDim(options_));
    PAGODA_ASSIGN_OR_RETURN(const nn::MlpOptions top, nn::ParseMlpOptions(options_));
    PAGODA_ASSIGN_OR_RETURN(l2_, nn::ParseL2(options_));
    nn::MlpOptions bottom = top;
    PAGODA_ASSIGN_OR_RETURN(bottom.hidden, nn::ParseWidths(options_, "bottom_hidden"));
    bottom.hidden.push_back(dim_);
    const std::vector<int> sparse = nn::AllSparse(schema);
    rows_ = nn::DeclareEmbeddings(declaration, schema, sparse, {.dim = dim_});
    const int64_t num_dense = static_cast<int64_t>(schema.DenseFeatures().size());
    has_dense_ = num_dense > 0;
    if (has_dense_) {
      bottom_ = nn::Mlp::Declare(declaration, "bottom", num_dense, bottom);
    } else {
      constant_ = declaration.AddDense({.name = "bottom.constant", .shape = {dim_}});
    }
    const int64_t num_vectors = static_cast<int64_t>(sparse.size()) + 1;
    const int64_t num_pairs = num_vectors * (num_vectors - 1) / 2;
    top_ = nn::Mlp::Declare(declaration, "top", dim_ + num_pairs, top);
    out_ = nn::LinearLayer::Declare(declaration, "out", {top_.output_dim(), 1});
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const int64_t n = input.batch_size();
    const Var rows = input.Lookup(rows_);
    const Var bottom = has_dense_ ? bottom_.Apply(input, input.Dense())
                                  : nn::BroadcastRow(input.Parameter(constant_), n);
    const Var flat = nn::ConcatInputs(bottom, rows);
    if (!flat.valid()) return ForwardOutput();
    const Var vectors = nn::Reshape(flat, {n, flat.shape()[1] / dim_, dim_});
    const Var hidden = top_.Apply(input, nn::Concat({bottom, nn::DotInteraction(vectors)}));
    const Var logits = nn::Reshape(out_.Apply(input, hidden), {n});
    ForwardOutput output = nn::BinaryOutput(input, logits);
    nn::AddL2(input, {rows}, l2_, &output);
    return output;
  }

 private:
  ModelOptions options_;
  double l2_ = 0.0;
  int64_t dim_ = 0;
  bool has_dense_ = false;
  LookupHandle rows_;
  nn::Mlp bottom_;
  DenseHandle constant_;  // In place of the bottom MLP without numeric features.
  nn::Mlp top_;
  nn::LinearLayer out_;
};

}  // namespace

ModelInfo DlrmModelInfo() {
  ModelInfo info;
  info.name = "dlrm";
  info.summary = "Dot products between embeddings and a bottom MLP's output, into a top MLP.";
  info.options = nn::MlpOptionSpecs();
  info.options.push_back({"bottom_hidden", std::vector<int64_t>{64}, "units",
                          "Widths of the bottom MLP's layers before its last, which has "
                          "embedding_dim units."});
  info.options.push_back(nn::EmbeddingDimOption());
  info.options.push_back(nn::L2Option());
  info.create = [](const ModelOptions& options) { return std::make_unique<Dlrm>(options); };
  return info;
}

}  // namespace pagoda

// The example of docs/adding_a_model.md: a neural factorisation machine (He & Chua
// 2017, "Neural Factorization Machines for Sparse Predictive Analytics", eq. 3-6)
//
//   logit(x) = bias + sum over features of w_f + h . MLP(B),   B = sum over pairs of v_f (*) v_g
#include "tests/algorithms/example_model.h"

#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"

namespace pagoda {
namespace {

class NeuralFm : public Model {
 public:
  explicit NeuralFm(const ModelOptions& options) : options_(options) {}

  // Once: what the servers and workers must create.
  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    PAGODA_RETURN_IF_ERROR(nn::RequireSparse(schema, "nfm"));
    PAGODA_ASSIGN_OR_RETURN(dim_, nn::ParseEmbeddingDim(options_));
    PAGODA_ASSIGN_OR_RETURN(const nn::MlpOptions mlp, nn::ParseMlpOptions(options_));
    rows_ = nn::DeclareEmbeddings(declaration, schema, nn::AllSparse(schema),
                                  {.dim = 1 + dim_, .init_zero_columns = 1});
    linear_ = nn::LinearTerm::Declare(declaration, "linear", schema);
    deep_ = nn::Mlp::Declare(declaration, "deep", dim_, mlp);
    out_ = nn::LinearLayer::Declare(declaration, "out", {deep_.output_dim(), 1}, /*bias=*/false);
    return absl::OkStatus();
  }

  // Per batch: the graph, in straight-line code; errors stick to the tape.
  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const nn::SplitRows rows = nn::LookupSplit(input, rows_, dim_);
    const Var pooled = deep_.Apply(input, BiInteraction(input, rows.embeddings));
    const Var deep = nn::Reshape(out_.Apply(input, pooled), {input.batch_size()});
    return nn::BinaryOutput(input, nn::Add(linear_.Apply(input, rows.weights), deep));
  }

 private:
  // [batch, features, dim] -> [batch, dim]: ((sum v)^2 - sum v^2) / 2, by column.
  Var BiInteraction(ForwardInput& input, const Var& embeddings) const {
    const Var sum = SumFeatures(input, embeddings);
    const Var squares = SumFeatures(input, nn::Square(embeddings));
    return nn::Scale(nn::Subtract(nn::Square(sum), squares), 0.5f);
  }

  // Each sample's rows are one segment of a [batch * features, dim] matrix.
  static Var SumFeatures(ForwardInput& input, const Var& x) {
    if (!x.valid()) return Var();
    const int64_t num_features = x.shape()[1];
    std::vector<int32_t> offsets = {0};
    for (int64_t i = 1; i <= input.batch_size(); ++i) {
      offsets.push_back(static_cast<int32_t>(i * num_features));
    }
    const Var flat = nn::Reshape(x, {input.batch_size() * num_features, x.shape()[2]});
    return nn::SegmentPool(flat, offsets, SegmentPooling::kSum);
  }

  ModelOptions options_;
  int64_t dim_ = 0;
  LookupHandle rows_;
  nn::LinearTerm linear_;
  nn::Mlp deep_;
  nn::LinearLayer out_;
};

}  // namespace

ModelInfo NeuralFmModelInfo() {
  ModelInfo info;
  info.name = "nfm";
  info.summary = "Neural factorisation machine: an MLP over the pooled products of embeddings.";
  info.options = nn::MlpOptionSpecs();
  info.options.push_back(nn::EmbeddingDimOption());
  info.create = [](const ModelOptions& options) { return std::make_unique<NeuralFm>(options); };
  return info;
}

}  // namespace pagoda

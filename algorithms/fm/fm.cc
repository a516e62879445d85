#include "algorithms/models.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"

namespace pagoda {
namespace {

class FactorizationMachine : public Model {
 public:
  explicit FactorizationMachine(const ModelOptions& options) : options_(options) {}

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    PAGODA_RETURN_IF_ERROR(nn::RequireSparse(schema, "fm"));
    PAGODA_ASSIGN_OR_RETURN(dim_, nn::ParseEmbeddingDim(options_));
    PAGODA_ASSIGN_OR_RETURN(l2_, nn::ParseL2(options_));
    rows_ = nn::DeclareEmbeddings(declaration, schema, nn::AllSparse(schema),
                                  {.dim = 1 + dim_, .init_zero_columns = 1});
    linear_ = nn::LinearTerm::Declare(declaration, "linear", schema);
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const nn::SplitRows rows = nn::LookupSplit(input, rows_, dim_);
    const Var logits = nn::Add(linear_.Apply(input, rows.weights), nn::Fm(rows.embeddings));
    ForwardOutput output = nn::BinaryOutput(input, logits);
    nn::AddL2(input, {rows.weights, rows.embeddings}, l2_, &output);
    return output;
  }

 private:
  ModelOptions options_;
  double l2_ = 0.0;
  int64_t dim_ = 0;
  LookupHandle rows_;
  nn::LinearTerm linear_;
};

}  // namespace

ModelInfo FmModelInfo() {
  ModelInfo info;
  info.name = "fm";
  info.summary = "Factorisation machine: linear weights and pairwise products of embeddings.";
  info.options = {nn::EmbeddingDimOption(), nn::L2Option()};
  info.create = [](const ModelOptions& options) {
    return std::make_unique<FactorizationMachine>(options);
  };
  return info;
}

}  // namespace pagoda

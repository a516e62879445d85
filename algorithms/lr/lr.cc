#include "algorithms/models.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"

namespace pagoda {
namespace {

class Lr : public Model {
 public:
  explicit Lr(const ModelOptions& options) : options_(options) {}

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    if (schema.features.empty()) return absl::InvalidArgumentError("the schema has no features");
    PAGODA_ASSIGN_OR_RETURN(l2_, nn::ParseL2(options_));
    const std::vector<int> sparse = nn::AllSparse(schema);
    if (!sparse.empty()) {
      rows_ = nn::DeclareEmbeddings(declaration, schema, sparse, {.dim = 1, .init_stddev = 0.0f});
    }
    linear_ = nn::LinearTerm::Declare(declaration, "linear", schema);
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    Var weights;
    if (rows_.index >= 0) weights = nn::Flatten(input.Lookup(rows_));
    ForwardOutput output = nn::BinaryOutput(input, linear_.Apply(input, weights));
    nn::AddL2(input, {weights}, l2_, &output);
    return output;
  }

 private:
  ModelOptions options_;
  double l2_ = 0.0;
  LookupHandle rows_;
  nn::LinearTerm linear_;
};

}  // namespace

ModelInfo LrModelInfo() {
  ModelInfo info;
  info.name = "lr";
  info.summary = "Logistic regression: one weight per feature value.";
  info.options = {nn::L2Option()};
  info.create = [](const ModelOptions& options) { return std::make_unique<Lr>(options); };
  return info;
}

}  // namespace pagoda

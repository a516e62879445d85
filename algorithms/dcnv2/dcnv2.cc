#include "algorithms/models.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"

namespace pagoda {
namespace {

class DcnV2 : public Model {
 public:
  explicit DcnV2(const ModelOptions& options) : options_(options) {}

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    PAGODA_ASSIGN_OR_RETURN(const int64_t dim, nn::ParseEmbeddingDim(options_));
    PAGODA_ASSIGN_OR_RETURN(const nn::MlpOptions mlp, nn::ParseMlpOptions(options_));
    PAGODA_ASSIGN_OR_RETURN(l2_, nn::ParseL2(options_));
    PAGODA_RETURN_IF_ERROR(ParseStructure());
    PAGODA_ASSIGN_OR_RETURN(inputs_, nn::FlatInputs::Declare(declaration, schema, dim));
    PAGODA_RETURN_IF_ERROR(DeclareCross(declaration));
    const int64_t width = inputs_.width();
    deep_ = nn::Mlp::Declare(declaration, "deep", width, mlp);
    const int64_t out_width = deep_.output_dim() + (parallel_ ? width : 0);
    out_ = nn::LinearLayer::Declare(declaration, "out", {out_width, 1});
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const Var x0 = inputs_.Apply(input);
    Var cross = x0;
    for (const CrossLayer& layer : cross_) {
      const Var low = low_rank_ ? layer.v.Apply(input, cross) : cross;
      cross = nn::CrossV2(x0, layer.w.Apply(input, low), cross);
    }
    const Var last =
        parallel_ ? nn::Concat({cross, deep_.Apply(input, x0)}) : deep_.Apply(input, cross);
    const Var logits = nn::Reshape(out_.Apply(input, last), {input.batch_size()});
    ForwardOutput output = nn::BinaryOutput(input, logits);
    nn::AddL2(input, {inputs_.Embeddings(input)}, l2_, &output);
    return output;
  }

 private:
  struct CrossLayer {
    nn::LinearLayer v;  // Low rank only: [width] -> [rank], no bias.
    nn::LinearLayer w;  // [width or rank] -> [width]
  };

  absl::Status ParseStructure() {
    const std::string& structure = options_.Get<std::string>("structure");
    if (structure != "stacked" && structure != "parallel") {
      return absl::InvalidArgumentError(absl::StrCat("model option 'structure' is '", structure,
                                                     "'; it must be 'stacked' or 'parallel'"));
    }
    parallel_ = structure == "parallel";
    return absl::OkStatus();
  }

  absl::Status DeclareCross(Declaration& declaration) {
    PAGODA_ASSIGN_OR_RETURN(const int64_t num_layers, nn::ParseCrossLayers(options_));
    const int64_t rank = options_.Get<int64_t>("low_rank");
    if (rank < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("model option 'low_rank' is ", rank, "; it must be at least 0"));
    }
    low_rank_ = rank > 0;
    const int64_t width = inputs_.width();
    for (int64_t i = 0; i < num_layers; ++i) {
      const std::string name = absl::StrCat("cross.", i);
      CrossLayer layer;
      if (low_rank_) {
        layer.v = nn::LinearLayer::Declare(declaration, name + ".v", {width, rank}, false);
      }
      layer.w = nn::LinearLayer::Declare(declaration, name, {low_rank_ ? rank : width, width});
      cross_.push_back(layer);
    }
    return absl::OkStatus();
  }

  ModelOptions options_;
  double l2_ = 0.0;
  bool parallel_ = false;
  bool low_rank_ = false;
  nn::FlatInputs inputs_;
  std::vector<CrossLayer> cross_;
  nn::Mlp deep_;
  nn::LinearLayer out_;
};

}  // namespace

ModelInfo DcnV2ModelInfo() {
  ModelInfo info;
  info.name = "dcnv2";
  info.summary = "Deep & Cross Network V2: matrix cross layers, stacked on or beside an MLP.";
  info.options = nn::MlpOptionSpecs();
  info.options.push_back(nn::CrossLayersOption());
  info.options.push_back({"structure", std::string("stacked"), "",
                          "'stacked': the MLP reads the cross layers; 'parallel': it reads the "
                          "inputs, and both are joined."});
  info.options.push_back(
      {"low_rank", int64_t{0}, "", "Rank of the cross layers' matrices; 0 for full rank."});
  info.options.push_back(nn::EmbeddingDimOption());
  info.options.push_back(nn::L2Option());
  info.create = [](const ModelOptions& options) { return std::make_unique<DcnV2>(options); };
  return info;
}

}  // namespace pagoda

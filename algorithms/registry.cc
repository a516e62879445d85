#include "algorithms/models.h"
#include "algorithms/nn/model.h"

namespace pagoda {

const std::vector<ModelInfo>& AllModels() {
  static const auto* const kModels = new std::vector<ModelInfo>{
      LrModelInfo(),       FmModelInfo(),    DnnModelInfo(),    WideDeepModelInfo(),
      DeepFmModelInfo(),   DlrmModelInfo(),  DcnModelInfo(),    DcnV2ModelInfo(),
      TwoTowerModelInfo(), DinModelInfo(),   SasRecModelInfo(), GpsdModelInfo(),
      UsdModelInfo(),      MsNetModelInfo(), UsmModelInfo(),    LreaModelInfo()};
  return *kModels;
}

absl::StatusOr<const ModelInfo*> FindModel(const std::string& name) {
  std::vector<std::string> names;
  for (const ModelInfo& model : AllModels()) {
    if (model.name == name) return &model;
    names.push_back(model.name);
  }
  return absl::NotFoundError(absl::StrCat("unknown model '", name, "'", DidYouMean(name, names)));
}

}  // namespace pagoda

#include "algorithms/models.h"
#include "algorithms/nn/model.h"

namespace pagoda {

const std::vector<ModelInfo>& AllModels() {
  static const auto* const kModels = new std::vector<ModelInfo>{
      LrModelInfo(),       FmModelInfo(),   DnnModelInfo(),  WideDeepModelInfo(),
      DeepFmModelInfo(),   DlrmModelInfo(), DcnModelInfo(),  DcnV2ModelInfo(),
      TwoTowerModelInfo(), UsdModelInfo(),  MsNetModelInfo()};
  return *kModels;
}

absl::StatusOr<const ModelInfo*> FindModel(const std::string& name) {
  std::vector<std::string> names;
  for (const ModelInfo& model : AllModels()) {
    if (model.name == name) return &model;
    names.push_back(model.name);
  }
  const std::string nearest = NearestName(name, names);
  return absl::NotFoundError(
      absl::StrCat("unknown model '", name, "'",
                   nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?")));
}

}  // namespace pagoda

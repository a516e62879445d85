// Every model, by function: what registry.cc lists. The contract of a model is
// nn/model.h; its formulas are in the README of its folder.
#pragma once

#include "algorithms/nn/model.h"

namespace pagoda {

ModelInfo LrModelInfo();
ModelInfo FmModelInfo();
ModelInfo DnnModelInfo();
ModelInfo WideDeepModelInfo();
ModelInfo UsmModelInfo();
ModelInfo DeepFmModelInfo();
ModelInfo DlrmModelInfo();
ModelInfo DcnModelInfo();
ModelInfo DcnV2ModelInfo();
ModelInfo TwoTowerModelInfo();
ModelInfo DinModelInfo();
ModelInfo SasRecModelInfo();
ModelInfo GpsdModelInfo();
ModelInfo UsdModelInfo();
ModelInfo MsNetModelInfo();
ModelInfo LreaModelInfo();

}  // namespace pagoda

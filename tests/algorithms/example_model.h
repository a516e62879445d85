// The example of docs/adding_a_model.md, compiled and checked with the tests.
#pragma once

#include "algorithms/nn/model.h"

namespace pagoda {

ModelInfo NeuralFmModelInfo();

}  // namespace pagoda

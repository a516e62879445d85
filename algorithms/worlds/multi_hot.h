// The world `multi_hot`: clicks that depend on products of pooled multi-hot fields. Rule,
// columns and knobs: docs/worlds.md. Specification: the test world of USM (arXiv
// 1812.01353), reconstructed for Pagoda.
#pragma once

#include "algorithms/worlds/world.h"

namespace pagoda {

// Variants planted, null (effects of ids add up, no products).
WorldKind MultiHotKind();

}  // namespace pagoda

// The world `long_history`: clicks that depend on events of long ago, half of them in
// another topic than the candidate's. Rule, columns and knobs: docs/worlds.md.
// Specification: the test world of LREA (arXiv 2503.02542), reconstructed for Pagoda.
#pragma once

#include "algorithms/worlds/world.h"

namespace pagoda {

// Variants planted, null (the long history is another user's).
WorldKind LongHistoryKind();

}  // namespace pagoda

// The world `cooccurrence`: long sequences in which items that belong together stand
// together, and few labels that follow the same latent vectors. Rule, columns and knobs:
// docs/worlds.md. Specification: the test world of GPSD (arXiv 2506.03699), reconstructed
// for Pagoda.
#pragma once

#include "algorithms/worlds/world.h"

namespace pagoda {

// Variants planted, null (pretraining sequences keep popularity and lose co-occurrence).
WorldKind CooccurrenceKind();

}  // namespace pagoda

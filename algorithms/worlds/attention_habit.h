// The world `attention_habit`: impressions that nobody looked at, and clicks out of habit,
// with exposure that depends on the same drive. Rule, columns and knobs: docs/worlds.md.
// Specification: the test world of USD (arXiv 2507.06503), reconstructed for Pagoda.
#pragma once

#include "algorithms/worlds/world.h"

namespace pagoda {

// Variants planted, null (no habit, everybody looks, uniform exposure), violation (a habit
// much weaker than the drive).
WorldKind AttentionHabitKind();

}  // namespace pagoda

// The world `stock_sale`: a market where most items exist once and users have one taste
// among those and another among items in deep stock. Rule, columns and knobs:
// docs/worlds.md. Specification: the test world of MSNet (arXiv 2403.06747), reconstructed
// for Pagoda.
#pragma once

#include "algorithms/worlds/world.h"

namespace pagoda {

// Variants planted, null (every item in deep stock, one taste).
WorldKind StockSaleKind();

}  // namespace pagoda

#include "algorithms/worlds/world.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "algorithms/nn/name_pattern.h"
#include "algorithms/worlds/attention_habit.h"
#include "algorithms/worlds/cooccurrence.h"
#include "algorithms/worlds/long_history.h"
#include "algorithms/worlds/multi_hot.h"
#include "algorithms/worlds/stock_sale.h"
#include "base/status_macros.h"

namespace pagoda {

const std::vector<WorldKind>& AllWorlds() {
  static const auto* const worlds = new std::vector<WorldKind>{
      AttentionHabitKind(), StockSaleKind(), MultiHotKind(), CooccurrenceKind(), LongHistoryKind()};
  return *worlds;
}

absl::StatusOr<const WorldKind*> FindWorld(const std::string& name) {
  std::vector<std::string> names;
  for (const WorldKind& kind : AllWorlds()) {
    if (kind.name == name) return &kind;
    names.push_back(kind.name);
  }
  return absl::NotFoundError(absl::StrCat("unknown world '", name, "'", DidYouMean(name, names),
                                          " (", absl::StrJoin(names, ", "), ")"));
}

absl::StatusOr<KnobValues> MakeKnobs(const WorldKind& kind, uint64_t seed,
                                     const std::vector<std::string>& assignments, int64_t rows) {
  PAGODA_ASSIGN_OR_RETURN(KnobValues knobs,
                          KnobValues::Make(seed, kind.knobs, kind.variants, assignments));
  if (rows > 0) {
    const double size = std::ceil(static_cast<double>(rows) / kind.rows_per_size(knobs));
    PAGODA_RETURN_IF_ERROR_CONTEXT(knobs.Set(kind.knobs, kind.size_knob, std::max(1.0, size)),
                                   absl::StrCat("--rows ", rows));
  }
  return knobs;
}

}  // namespace pagoda

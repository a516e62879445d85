#include "embedding_store/exact_steps.h"

#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr size_t kRunBytes = sizeof(uint32_t) + sizeof(float);

absl::Status CutShort() {
  return absl::DataLossError("the steps of exact tables are damaged");
}

// Steps of one table in all its runs.
uint64_t StepsIn(absl::string_view rates) {
  uint64_t steps = 0;
  for (size_t at = sizeof(uint64_t); at < rates.size(); at += kRunBytes) {
    uint32_t count = 0;
    std::memcpy(&count, rates.data() + at, sizeof(count));
    steps += count;
  }
  return steps;
}

// What `cut` says of the exact table `name`; none: it does not list it.
absl::StatusOr<std::optional<absl::string_view>> RatesOf(const StepsOfCut& cut,
                                                         const std::string& name) {
  PAGODA_ASSIGN_OR_RETURN(const std::vector<TableSteps> steps, SplitTableSteps(cut.bytes));
  for (const TableSteps& one : steps) {
    if (one.table >= cut.tables.size() || !cut.tables[one.table].optimizer.exact) {
      return absl::DataLossError(
          absl::StrCat("there are steps of table ", one.table, ", which is not exact"));
    }
    if (cut.tables[one.table].name == name) return std::optional(one.rates);
  }
  for (const TableOptions& table : cut.tables) {
    if (table.name != name) continue;
    // Listed, and never pushed to before it was flushed.
    static constexpr char kNoRuns[sizeof(uint64_t)] = {};
    return std::optional(absl::string_view(kNoRuns, sizeof(kNoRuns)));
  }
  return std::optional<absl::string_view>();
}

}  // namespace

void AppendTableSteps(const TableSteps& steps, std::string* bytes) {
  bytes->append(reinterpret_cast<const char*>(&steps.table), sizeof(steps.table));
  bytes->append(steps.rates.data(), steps.rates.size());
}

absl::StatusOr<std::vector<TableSteps>> SplitTableSteps(absl::string_view bytes) {
  std::vector<TableSteps> all;
  while (!bytes.empty()) {
    TableSteps steps;
    uint64_t runs = 0;
    if (bytes.size() < sizeof(steps.table) + sizeof(runs)) return CutShort();
    std::memcpy(&steps.table, bytes.data(), sizeof(steps.table));
    bytes.remove_prefix(sizeof(steps.table));
    std::memcpy(&runs, bytes.data(), sizeof(runs));
    if (runs > (bytes.size() - sizeof(runs)) / kRunBytes) return CutShort();
    const size_t length = sizeof(runs) + runs * kRunBytes;
    steps.rates = bytes.substr(0, length);
    bytes.remove_prefix(length);
    all.push_back(steps);
  }
  return all;
}

absl::StatusOr<std::string> MergeTableSteps(std::span<const StepsOfCut> cuts,
                                            const std::vector<TableOptions>& tables) {
  std::string merged;
  for (uint32_t t = 0; t < tables.size(); ++t) {
    if (!tables[t].optimizer.exact) continue;
    const StepsOfCut* first = nullptr;
    std::optional<absl::string_view> rates;
    for (const StepsOfCut& cut : cuts) {
      absl::StatusOr<std::optional<absl::string_view>> here = RatesOf(cut, tables[t].name);
      PAGODA_RETURN_IF_ERROR_CONTEXT(here.status(), cut.directory);
      if (!here->has_value()) continue;
      if (first == nullptr) {
        first = &cut;
        rates = *here;
      } else if (*rates != **here) {
        return absl::FailedPreconditionError(absl::StrCat(
            "exact table \"", tables[t].name, "\" has taken ", StepsIn(*rates), " steps in ",
            first->directory, " and ", StepsIn(**here), " in ", cut.directory,
            StepsIn(*rates) == StepsIn(**here) ? ", at other learning rates" : "",
            ": they are not shards of one job at one step"));
      }
    }
    if (rates) AppendTableSteps({t, *rates}, &merged);
  }
  return merged;
}

}  // namespace pagoda

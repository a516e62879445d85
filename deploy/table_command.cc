// `pagoda table`: rows on disk.

#include <cstdio>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "deploy/commands.h"
#include "deploy/stored_rows.h"

namespace pagoda {
namespace {

std::string NumbersText(const std::vector<float>& values) {
  return absl::StrJoin(values, " ", [](std::string* out, float value) {
    absl::StrAppendFormat(out, "%.9g", value);
  });
}

// "; admission: ...; evicts ..." of a table that has such settings.
std::string PoliciesText(const TableOptions& options) {
  std::string text;
  const AdmissionOptions& admission = options.admission;
  if (admission.kind == AdmissionKind::kFrequency) {
    absl::StrAppendFormat(&text, "; admission: frequency, %d steps, counts halve every %d",
                          admission.count, admission.window_steps);
  } else if (admission.kind == AdmissionKind::kProbability) {
    absl::StrAppendFormat(&text, "; admission: probability %g", admission.probability);
  }
  const EvictionPolicy& eviction = options.eviction;
  if (!eviction.triggers()) return text;
  text.append("; evicts by itself");
  if (eviction.every_steps > 0) {
    absl::StrAppendFormat(&text, ", every %d steps", eviction.every_steps);
  }
  if (eviction.every_seconds > 0) {
    absl::StrAppendFormat(&text, ", every %d s", eviction.every_seconds);
  }
  if (eviction.rule.rows_max > 0) {
    absl::StrAppendFormat(&text, ", above %d rows a server", eviction.rule.rows_max);
  }
  if (eviction.bytes_disk_max > 0) {
    absl::StrAppendFormat(&text, ", above %d bytes a server", eviction.bytes_disk_max);
  }
  return text;
}

}  // namespace

absl::StatusOr<int> RunTableStat(const TableStatArguments& arguments) {
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<StoredRows> rows, StoredRows::Open(arguments.path));
  PAGODA_ASSIGN_OR_RETURN(const auto tables, rows->Tables());
  for (const auto& [name, table] : tables) {
    const TableOptions& options = table.options;
    const double disk_bytes_per_row =
        table.rows == 0 ? 0.0
                        : static_cast<double>(table.bytes_disk) / static_cast<double>(table.rows);
    absl::PrintF("%s  dim %d %s  rows %d  about %d bytes on disk  %s, learning rate %g%s\n", name,
                 options.dim, RowPrecisionName(options.precision), table.rows, table.bytes_disk,
                 SparseOptimizerName(options.optimizer.kind), options.optimizer.learning_rate,
                 options.frozen ? "  frozen" : "");
    absl::PrintF(
        "    a row: %d bytes stored, about %.1f on disk with all that goes with it, "
        "%d in memory\n",
        table.row_bytes_disk, disk_bytes_per_row, table.row_bytes_memory);
    const std::string policies = PoliciesText(options);
    if (policies.empty() && table.refused == 0 && table.evicted == 0) continue;
    absl::PrintF("    %d gradients refused, %d rows evicted%s\n", table.refused, table.evicted,
                 policies);
  }
  if (!arguments.hash) return 0;
  PAGODA_ASSIGN_OR_RETURN(const uint64_t hash, rows->ContentHash());
  absl::PrintF("rows %016x\n", hash);
  return 0;
}

absl::StatusOr<int> RunTableGet(const TableGetArguments& arguments) {
  FeatureId id = 0;
  if (!arguments.text.empty()) {
    id = HashFeature(arguments.feature.empty() ? arguments.table : arguments.feature,
                     arguments.text);
  } else if (!absl::SimpleAtoi(arguments.id, &id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", arguments.id, "' is not an id: give a decimal number below 2^64, or ",
                     "--text VALUE"));
  }
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<StoredRows> rows, StoredRows::Open(arguments.path));
  PAGODA_ASSIGN_OR_RETURN(const StoredRow row, rows->Get(arguments.table, id));
  absl::PrintF("id %d\nlast step %d\nweights %s\nslots %s\n", row.id, row.last_step,
               NumbersText(row.weights), NumbersText(row.slots));
  return 0;
}

}  // namespace pagoda

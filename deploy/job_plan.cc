#include "deploy/job_plan.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace pagoda {
namespace {

// Index, filter (10 bits a row) and older versions of rows beside the rows themselves.
constexpr double kDiskFactor = 1.3;
// Rows and index of a server's memory budget; the rest is for reading and flushing.
constexpr double kTierShare = 0.75;
constexpr double kIdBytes = 8;
// Of a log record, and of each of its tables (docs/formats.md).
constexpr double kRecordBytes = 56;
constexpr double kRecordTableBytes = 24;
// Of one call over the network, there and back: HTTP/2 and TCP headers and
// acknowledgements; measured on loopback (tests/benchmarks/plan_check.sh).
constexpr double kCallBytes = 800;
constexpr double kCallsPerStep = 2;  // Pull and push, to each server.

std::string Count(double value) {
  if (value < 1e6) return absl::StrFormat("%.0f", value);
  if (value < 1e9) return absl::StrFormat("%.2f M", value / 1e6);
  return absl::StrFormat("%.2f G", value / 1e9);
}

}  // namespace

std::string BytesText(double bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(units)) {
    bytes /= 1024;
    ++unit;
  }
  if (unit == 0) return absl::StrFormat("%.0f %s", bytes, units[unit]);
  return absl::StrFormat("%.1f %s", bytes, units[unit]);
}

JobPlan MakePlan(const PlanInput& input) {
  JobPlan plan;
  double payload_bytes = 0;         // Ids and gradients of one step,
  double worker_payload_bytes = 0;  // and of one worker's pulls and push.
  for (const PlanTable& table : input.tables) {
    plan.rows += table.ids;
    plan.unique_per_step += table.unique_per_step;
    plan.memory_bytes_all += table.ids * table.row_bytes_memory;
    plan.disk_bytes_rows += kDiskFactor * table.ids * table.row_bytes_disk;
    const double entry = kIdBytes + sizeof(float) * static_cast<double>(table.dim);
    payload_bytes += table.unique_per_step * entry;
    worker_payload_bytes += (2 * table.unique_per_worker + table.reread_per_step) * entry;
  }
  const double servers = input.servers;
  plan.memory_bytes_budget = servers * static_cast<double>(input.server_memory_bytes);
  plan.memory_bytes_tier = kTierShare * plan.memory_bytes_budget;
  if (plan.memory_bytes_all > 0) {
    plan.hot_fraction = std::min(1.0, plan.memory_bytes_tier / plan.memory_bytes_all);
  }
  const double heads =
      servers * (kRecordBytes + kRecordTableBytes * static_cast<double>(input.tables.size()));
  plan.log_bytes_per_step = input.logged ? payload_bytes + heads : 0;
  plan.log_bytes_per_second = plan.log_bytes_per_step * input.steps_per_second;
  plan.disk_bytes_log =
      input.logged ? servers * static_cast<double>(input.server_log_bytes_max) : 0;
  if (input.networked) {
    plan.worker_bytes_per_step = worker_payload_bytes + kCallsPerStep * servers * kCallBytes;
    plan.worker_bytes_per_second = plan.worker_bytes_per_step * input.steps_per_second;
    plan.server_bytes_per_second = plan.worker_bytes_per_second * input.workers / servers;
  }
  plan.samples_per_second = input.steps_per_second * static_cast<double>(input.batch_size);
  return plan;
}

std::string PlanText(const PlanInput& input, const JobPlan& plan) {
  std::string text =
      absl::StrFormat("%-24s %5s %12s %14s %10s %12s %12s %12s\n", "table", "dim", "ids",
                      "unique a step", "row disk", "row memory", "disk", "memory");
  for (const PlanTable& table : input.tables) {
    absl::StrAppendFormat(&text, "%-24s %5d %12s %14.1f %10s %12s %12s %12s\n", table.name,
                          table.dim, Count(table.ids), table.unique_per_step,
                          BytesText(table.row_bytes_disk), BytesText(table.row_bytes_memory),
                          BytesText(kDiskFactor * table.ids * table.row_bytes_disk),
                          BytesText(table.ids * table.row_bytes_memory));
  }
  absl::StrAppendFormat(&text, "%-24s %5s %12s %14.1f %10s %12s %12s %12s\n\n", "all", "",
                        Count(plan.rows), plan.unique_per_step, "", "",
                        BytesText(plan.disk_bytes_rows), BytesText(plan.memory_bytes_all));
  absl::StrAppendFormat(&text,
                        "memory   %s for %d server%s; their tiers hold %s, which is %.1f %% of all "
                        "rows\n",
                        BytesText(plan.memory_bytes_budget), input.servers,
                        input.servers == 1 ? "" : "s", BytesText(plan.memory_bytes_tier),
                        100 * plan.hot_fraction);
  absl::StrAppendFormat(&text, "disk     %s of rows, and up to %s of log\n",
                        BytesText(plan.disk_bytes_rows), BytesText(plan.disk_bytes_log));
  absl::StrAppendFormat(&text, "log      %s a step, %s a second\n",
                        BytesText(plan.log_bytes_per_step), BytesText(plan.log_bytes_per_second));
  if (input.networked) {
    absl::StrAppendFormat(
        &text, "network  %s a step and worker, %s a second; %s a second at each server\n",
        BytesText(plan.worker_bytes_per_step), BytesText(plan.worker_bytes_per_second),
        BytesText(plan.server_bytes_per_second));
  } else {
    absl::StrAppend(&text, "network  none: servers and worker are one process\n");
  }
  absl::StrAppendFormat(&text, "speed    %.1f steps a second, %.0f samples a second\n",
                        input.steps_per_second, plan.samples_per_second);
  return text;
}

}  // namespace pagoda

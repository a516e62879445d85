// What a job will need, from a few numbers: ids N and bytes r of a row of each table,
// unique rows u of a step, and steps s a second.
//
//   memory   N x r in memory; what the servers' budgets hold of it
//   disk     1.3 x N x r stored, and the log up to its ceiling
//   log      s x (u x (8 + 4 dim) + heads): a push is logged as ids and gradients
//   network  s x (2 u + reread) x (8 + 4 dim) for each worker, u of its part of the batch: ids go
//            out with pull and push, rows come back, gradients go out; and 800 bytes a
//            call for headers
//
// tests/benchmarks/plan_check.sh prints its errors against real runs. Threads: pure
// functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pagoda {

struct PlanTable {
  std::string name;
  int64_t dim = 0;
  double ids = 0;                // N
  double unique_per_step = 0;    // u, of the global batch.
  double unique_per_worker = 0;  // Of one worker's part of it.
  double reread_per_step = 0;    // Rows pulled early and then again (sync, one worker).
  double row_bytes_disk = 0;     // r, of one row: StoreTableStat.
  double row_bytes_memory = 0;
};

struct PlanInput {
  std::vector<PlanTable> tables;
  int64_t batch_size = 0;  // Global.
  double steps_per_second = 0;
  int servers = 1;
  int workers = 1;
  bool networked = false;            // Servers are processes of their own.
  bool logged = true;                // durability is not "none".
  int64_t server_memory_bytes = 0;   // [server] memory_mb
  int64_t server_log_bytes_max = 0;  // The ceiling of one server's log.
};

struct JobPlan {
  double rows = 0;
  double unique_per_step = 0;
  double memory_bytes_all = 0;     // If every row were in memory.
  double memory_bytes_tier = 0;    // What the servers' tiers hold of rows and index.
  double memory_bytes_budget = 0;  // The servers' budgets in all.
  double hot_fraction = 1;         // Of rows that fit into the tiers.
  double disk_bytes_rows = 0;
  double disk_bytes_log = 0;  // At most, all servers.
  double log_bytes_per_step = 0;
  double log_bytes_per_second = 0;
  double worker_bytes_per_step = 0;  // Over the network, both directions, one worker.
  double worker_bytes_per_second = 0;
  double server_bytes_per_second = 0;  // One server's share.
  double samples_per_second = 0;
};

JobPlan MakePlan(const PlanInput& input);

// "12.3 MiB"
std::string BytesText(double bytes);
// The plan as lines for people, with its tables; no assumptions.
std::string PlanText(const PlanInput& input, const JobPlan& plan);

}  // namespace pagoda

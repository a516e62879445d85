// Eviction by itself: a thread looks a few times a second whether a table's policy
// (eviction.h) has come due, by step, time, number of rows or bytes on disk, and then
// evicts as Evict does: beside pushes, a range of buckets at a time.
//
// Which rows a push has kept alive until then depends on when the thread got to them. So a
// job with such a policy has not the same bits in every run, and the store says so when
// the table is opened.
#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "embedding_store/shard_store.h"

namespace pagoda {
namespace {

constexpr auto kLook = std::chrono::milliseconds(200);
constexpr auto kRetryAfter = std::chrono::seconds(10);

// Above a limit so much of it goes at once: each time reads all rows of the table.
constexpr int64_t kShareBelowLimit = 10;

}  // namespace

EvictionRule ShardStore::DueRule(uint32_t table, EvictionClock* clock) const {
  const Table& t = *tables_[table];
  const EvictionPolicy& policy = t.options.eviction;
  const auto now = std::chrono::steady_clock::now();
  Step newest = 0;
  {
    std::lock_guard<std::mutex> lock(admission_mutex_);
    newest = static_cast<Step>(t.counters.newest_step);
  }
  if (now < clock->not_before) return EvictionRule();
  bool due = clock->unfinished;
  if (policy.every_seconds > 0) {
    due |= now - clock->evicted >= std::chrono::seconds(policy.every_seconds);
  }
  if (policy.every_steps > 0) {
    due |= newest / policy.every_steps > clock->step / policy.every_steps;
  }
  clock->step = newest;
  int64_t limit = policy.rule.rows_max;
  if (policy.bytes_disk_max > 0) {
    const auto row_bytes = static_cast<int64_t>(kRowKeyBytes + t.shape.value_bytes_usual());
    const int64_t rows = std::max<int64_t>(1, policy.bytes_disk_max / row_bytes);
    limit = limit == 0 ? rows : std::min(limit, rows);
  }
  const bool over = limit > 0 && t.rows.load() > limit;
  if (!due && !over) return EvictionRule();
  EvictionRule rule = policy.rule;
  rule.rows_max = over ? std::max<int64_t>(1, limit - limit / kShareBelowLimit) : 0;
  return rule;
}

void ShardStore::EvictDue(uint32_t table, const EvictionRule& rule, EvictionClock* clock) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string& name = tables_[table]->options.name;
  clock->unfinished = false;
  const absl::StatusOr<EvictionResult> result = EvictTable(table, rule, [&] {
    clock->unfinished |= stop_evicting_.load() || excluding_.load() > 0;
    return clock->unfinished;
  });
  const auto end = std::chrono::steady_clock::now();
  clock->evicted = end;
  // At most half of the time, so that pushes get on.
  clock->not_before = end + (end - begin);
  if (!result.ok()) {
    clock->not_before = end + kRetryAfter;
    clock->unfinished = true;
    PAGODA_LOG_WARNING("{}: evicting rows of table \"{}\" failed, trying again: {}", options_.path,
                       name, std::string(result.status().message()));
    return;
  }
  PAGODA_LOG_INFO("{}: evicted {} of {} rows of table \"{}\"", options_.path, result->evicted,
                  result->rows_before, name);
}

void ShardStore::RunTriggers(std::map<std::string, EvictionClock>* clocks) {
  std::shared_lock<std::shared_mutex> state(state_mutex_);
  if (!closed_.ok()) return;
  for (uint32_t t = 0; t < tables_.size() && !stop_evicting_ && excluding_ == 0; ++t) {
    const TableOptions& options = tables_[t]->options;
    if (!options.eviction.triggers() || options.frozen) continue;
    const auto [clock, is_new] = clocks->try_emplace(options.name);
    if (is_new) {
      clock->second.evicted = std::chrono::steady_clock::now();
      std::lock_guard<std::mutex> lock(admission_mutex_);
      clock->second.step = static_cast<Step>(tables_[t]->counters.newest_step);
    }
    const EvictionRule rule = DueRule(t, &clock->second);
    if (rule.sets_anything()) EvictDue(t, rule, &clock->second);
  }
}

void ShardStore::EvictorLoop() {
  std::map<std::string, EvictionClock> clocks;
  std::unique_lock<std::mutex> lock(evictor_mutex_);
  while (!stop_evicting_) {
    evictor_wake_.wait_for(lock, kLook, [&] { return stop_evicting_.load(); });
    if (stop_evicting_) return;
    lock.unlock();
    RunTriggers(&clocks);
    lock.lock();
  }
}

}  // namespace pagoda

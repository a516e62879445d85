// Eviction: rows leave RocksDB by tombstones and the memory tier by name.
//
// Only rows whose last push a completed flush covers, and that are clean in memory, may
// go: no record of the log can bring such a row back, so nothing has to be logged. A
// flush at the start makes that so for every row but those pushed to since. Buckets are
// done a range at a time: found beside pushes, then looked at again and removed while
// pushes wait. Each range is one atomic run: after a crash a row is there whole or gone.
#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "embedding_store/eviction.h"
#include "embedding_store/shard_store.h"

namespace pagoda {
namespace {

constexpr uint32_t kBucketsAtOnce = 4096;

}  // namespace

RowFacts ShardStore::FactsOf(const RowShape& shape, const char* row) {
  thread_local std::vector<float> weights;
  weights.resize(static_cast<size_t>(shape.dim));
  LoadWeights(shape.precision, WeightsOf(row), shape.dim, weights.data());
  RowFacts facts{HeaderOf(row)->last_step, HeaderOf(row)->updates, 0.0};
  for (const float weight : weights) facts.squared_norm += double{weight} * double{weight};
  return facts;
}

absl::Status ShardStore::ScanEvictable(
    uint32_t table, uint32_t begin, uint32_t end,
    const std::function<absl::Status(const RowKey&, const RowFacts&)>& visit) {
  const RowShape& shape = tables_[table]->shape;
  const uint64_t flushed = rocks_->meta().flushed_sequence;
  std::vector<RowHeader> buffer(shape.row_bytes() / sizeof(RowHeader) + 1);
  char* row = reinterpret_cast<char*>(buffer.data());
  return rocks_->ScanBuckets(
      begin, end, [&](const RowKey& key, absl::string_view value) -> absl::StatusOr<bool> {
        if (key.table != table) return true;
        PAGODA_RETURN_IF_ERROR(DecodeValue(key, value, row));
        if (HeaderOf(row)->sequence > flushed || !memory_->IsClean(key)) return true;
        PAGODA_RETURN_IF_ERROR(visit(key, FactsOf(shape, row)));
        return true;
      });
}

absl::StatusOr<Step> ShardStore::NewestStep(uint32_t table) {
  {
    std::lock_guard<std::mutex> lock(admission_mutex_);
    const uint64_t newest = tables_[table]->counters.newest_step;
    if (newest > 0) return static_cast<Step>(newest);
  }
  // Not pushed to by a build that keeps it.
  Step newest = 0;
  PAGODA_RETURN_IF_ERROR(
      ScanEvictable(table, 0, kNumBuckets, [&](const RowKey&, const RowFacts& facts) {
        newest = std::max(newest, facts.last_step);
        return absl::OkStatus();
      }));
  return newest;
}

absl::Status ShardStore::RankForEviction(uint32_t table, EvictionPlan* plan) {
  if (plan->rule.rows_max == 0) return absl::OkStatus();
  std::map<uint32_t, int64_t> stay;  // Rows by rank, those left by the other criteria.
  int64_t leaving = 0;
  PAGODA_RETURN_IF_ERROR(
      ScanEvictable(table, 0, kNumBuckets, [&](const RowKey&, const RowFacts& facts) {
        if (RuleEvicts(plan->rule, facts)) {
          ++leaving;
        } else {
          ++stay[EvictionRank(plan->ranked, facts)];
        }
        return absl::OkStatus();
      }));
  int64_t surplus = tables_[table]->rows.load() - leaving - plan->rule.rows_max;
  for (const auto& [rank, rows] : stay) {
    if (surplus <= 0) break;
    plan->below = rank;
    if (rows > surplus) return BreakTies(table, surplus, plan);
    plan->below = int64_t{rank} + 1;
    surplus -= rows;
  }
  return absl::OkStatus();
}

absl::Status ShardStore::BreakTies(uint32_t table, int64_t surplus, EvictionPlan* plan) {
  std::vector<int64_t> rows(kEvictionTies, 0);
  PAGODA_RETURN_IF_ERROR(
      ScanEvictable(table, 0, kNumBuckets, [&](const RowKey& key, const RowFacts& facts) {
        if (!RuleEvicts(plan->rule, facts) && EvictionRank(plan->ranked, facts) == plan->below) {
          ++rows[EvictionTie(key.id)];
        }
        return absl::OkStatus();
      }));
  for (plan->ties = 0; plan->ties < kEvictionTies && surplus > 0; ++plan->ties) {
    surplus -= rows[plan->ties];
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ShardStore::EvictBuckets(uint32_t table, const EvictionPlan& plan,
                                                  uint32_t begin, uint32_t end) {
  std::vector<RowKey> found;
  PAGODA_RETURN_IF_ERROR(
      ScanEvictable(table, begin, end, [&](const RowKey& key, const RowFacts& facts) {
        if (plan.Takes(key.id, facts)) found.push_back(key);
        return absl::OkStatus();
      }));
  if (found.empty()) return 0;
  std::lock_guard<std::mutex> push(push_mutex_);
  std::lock_guard<std::mutex> flush(flush_mutex_);
  Table& t = *tables_[table];
  std::vector<RowHeader> buffer(t.shape.row_bytes() / sizeof(RowHeader) + 1);
  char* row = reinterpret_cast<char*>(buffer.data());
  std::vector<RowKey> keys;  // Those that still may go, and should.
  RocksMeta meta = rocks_->meta();
  PAGODA_RETURN_IF_ERROR(rocks_->Read(found, [&](size_t i, absl::string_view value) {
    if (value.empty() || !memory_->IsClean(found[i])) return absl::OkStatus();
    absl::Status decoded = DecodeValue(found[i], value, row);
    if (!decoded.ok() || HeaderOf(row)->sequence > meta.flushed_sequence) return decoded;
    if (plan.Takes(found[i].id, FactsOf(t.shape, row))) keys.push_back(found[i]);
    return absl::OkStatus();
  }));
  if (keys.empty()) return 0;
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<RocksTier::RunWriter> run, rocks_->NewRun());
  for (const RowKey& key : keys) PAGODA_RETURN_IF_ERROR(run->Remove(key));
  meta.rows[table] -= keys.size();
  // Counted with the rows that go; what else the counters say is that of the last flush.
  TableCounters counters = t.counters_on_disk;
  counters.evicted += keys.size();
  PAGODA_RETURN_IF_ERROR(run->AddState(table, kCountersPart, EncodeTableCounters(counters)));
  PAGODA_RETURN_IF_ERROR(run->Commit(meta));
  t.counters_on_disk = counters;
  {
    std::lock_guard<std::mutex> lock(admission_mutex_);
    t.counters.evicted = counters.evicted;
  }
  // After the commit: a pull that read the old row before it may not keep it.
  for (const RowKey& key : keys) memory_->Forget(key);
  t.rows.fetch_sub(static_cast<int64_t>(keys.size()));
  return keys.size();
}

absl::StatusOr<EvictionResult> ShardStore::Evict(uint32_t table, const EvictionRule& rule) {
  std::shared_lock<std::shared_mutex> state(state_mutex_);
  return EvictTable(table, rule, [] { return false; });
}

absl::StatusOr<EvictionResult> ShardStore::EvictTable(uint32_t table, const EvictionRule& rule,
                                                      const std::function<bool()>& stop) {
  PAGODA_RETURN_IF_ERROR(CheckTableIndex(table));
  PAGODA_RETURN_IF_ERROR(CheckEvictionRule(rule));
  if (options_.read_only) {
    return absl::FailedPreconditionError(absl::StrCat(options_.path, " is open read-only"));
  }
  if (tables_[table]->options.frozen) {
    return absl::FailedPreconditionError(absl::StrCat("table \"", tables_[table]->options.name,
                                                      "\" is frozen: none of its rows may go"));
  }
  if (tables_[table]->options.optimizer.exact) {
    return absl::FailedPreconditionError(
        absl::StrCat("table \"", tables_[table]->options.name,
                     "\" is exact: an evicted row would not read as the dense optimizer's"));
  }
  PAGODA_RETURN_IF_ERROR(Flush());
  EvictionResult result;
  result.rows_before = static_cast<uint64_t>(tables_[table]->rows.load());
  PAGODA_ASSIGN_OR_RETURN(const Step newest, NewestStep(table));
  EvictionPlan plan{rule, rule};
  if (plan.rule.now == 0) plan.rule.now = newest;
  plan.ranked.now = std::max(plan.rule.now, newest);
  PAGODA_RETURN_IF_ERROR(RankForEviction(table, &plan));
  for (uint32_t begin = 0; begin < kNumBuckets && !stop(); begin += kBucketsAtOnce) {
    const uint32_t end = std::min(begin + kBucketsAtOnce, kNumBuckets);
    PAGODA_ASSIGN_OR_RETURN(const uint64_t evicted, EvictBuckets(table, plan, begin, end));
    result.evicted += evicted;
  }
  return result;
}

}  // namespace pagoda

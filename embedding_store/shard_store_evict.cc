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

absl::Status CheckEvictionRule(const EvictionRule& rule) {
  const auto bad = [](const char* member, double value) {
    return absl::InvalidArgumentError(
        absl::StrCat("eviction: ", member, " is ", value, ", but must be finite and >= 0"));
  };
  if (rule.now < 0) return bad("now", static_cast<double>(rule.now));
  if (rule.unused_steps < 0) return bad("unused_steps", static_cast<double>(rule.unused_steps));
  if (rule.rows_max < 0) return bad("rows_max", static_cast<double>(rule.rows_max));
  if (!(std::isfinite(rule.norm_min) && rule.norm_min >= 0.0f)) {
    return bad("norm_min", static_cast<double>(rule.norm_min));
  }
  if (rule.sets_anything()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "eviction: no criterion is set: unused_steps, updates_min, norm_min or rows_max");
}

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

absl::StatusOr<Step> ShardStore::EvictionAge(uint32_t table, const EvictionRule& rule) {
  if (rule.rows_max == 0) return Step{-1};
  std::map<Step, int64_t> stay;  // Rows by last step, those left by the other criteria.
  int64_t leaving = 0;
  for (uint32_t begin = 0; begin < kNumBuckets; begin += kBucketsAtOnce) {
    const uint32_t end = std::min(begin + kBucketsAtOnce, kNumBuckets);
    PAGODA_RETURN_IF_ERROR(
        ScanEvictable(table, begin, end, [&](const RowKey&, const RowFacts& facts) {
          if (RuleEvicts(rule, facts)) {
            ++leaving;
          } else {
            ++stay[facts.last_step];
          }
          return absl::OkStatus();
        }));
  }
  int64_t surplus = tables_[table]->rows.load() - leaving - rule.rows_max;
  Step oldest_kept = -1;
  for (const auto& [step, rows] : stay) {
    if (surplus <= 0) break;
    surplus -= rows;
    oldest_kept = step;
  }
  return oldest_kept;
}

absl::StatusOr<uint64_t> ShardStore::EvictBuckets(uint32_t table, const EvictionRule& rule,
                                                  Step up_to, uint32_t begin, uint32_t end) {
  std::vector<RowKey> found;
  PAGODA_RETURN_IF_ERROR(
      ScanEvictable(table, begin, end, [&](const RowKey& key, const RowFacts& facts) {
        if (RuleEvicts(rule, facts) || facts.last_step <= up_to) found.push_back(key);
        return absl::OkStatus();
      }));
  if (found.empty()) return 0;
  std::lock_guard<std::mutex> push(push_mutex_);
  std::lock_guard<std::mutex> flush(flush_mutex_);
  const RowShape& shape = tables_[table]->shape;
  std::vector<RowHeader> buffer(shape.row_bytes() / sizeof(RowHeader) + 1);
  char* row = reinterpret_cast<char*>(buffer.data());
  std::vector<RowKey> keys;  // Those that still may go, and should.
  const uint64_t flushed = rocks_->meta().flushed_sequence;
  PAGODA_RETURN_IF_ERROR(rocks_->Read(found, [&](size_t i, absl::string_view value) {
    if (value.empty() || !memory_->IsClean(found[i])) return absl::OkStatus();
    absl::Status decoded = DecodeValue(found[i], value, row);
    if (!decoded.ok() || HeaderOf(row)->sequence > flushed) return decoded;
    const RowFacts facts = FactsOf(shape, row);
    if (RuleEvicts(rule, facts) || facts.last_step <= up_to) keys.push_back(found[i]);
    return absl::OkStatus();
  }));
  if (keys.empty()) return 0;
  RocksMeta meta = rocks_->meta();
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<RocksTier::RunWriter> run, rocks_->NewRun());
  for (const RowKey& key : keys) PAGODA_RETURN_IF_ERROR(run->Remove(key));
  meta.rows[table] -= keys.size();
  PAGODA_RETURN_IF_ERROR(run->Commit(meta));
  // After the commit: a pull that read the old row before it may not keep it.
  for (const RowKey& key : keys) memory_->Forget(key);
  tables_[table]->rows.fetch_sub(static_cast<int64_t>(keys.size()));
  return keys.size();
}

absl::StatusOr<EvictionResult> ShardStore::Evict(uint32_t table, const EvictionRule& rule) {
  std::shared_lock<std::shared_mutex> state(state_mutex_);
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
  PAGODA_ASSIGN_OR_RETURN(const Step up_to, EvictionAge(table, rule));
  for (uint32_t begin = 0; begin < kNumBuckets; begin += kBucketsAtOnce) {
    const uint32_t end = std::min(begin + kBucketsAtOnce, kNumBuckets);
    PAGODA_ASSIGN_OR_RETURN(const uint64_t evicted, EvictBuckets(table, rule, up_to, begin, end));
    result.evicted += evicted;
  }
  return result;
}

}  // namespace pagoda

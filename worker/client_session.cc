#include "worker/client_session.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "proto/version.h"
#include "worker/shard_split.h"

namespace pagoda {
namespace {

absl::Status CheckTable(int table, const SessionOptions& options) {
  if (table >= 0 && static_cast<size_t>(table) < options.tables.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("table index ", table, " is not in [0, ", options.tables.size(), ")"));
}

}  // namespace

uint64_t NewIncarnation() {
  static std::atomic<uint64_t> latest{0};
  uint64_t previous = latest.load();
  uint64_t next = 0;
  do {
    next = std::max(previous + 1, static_cast<uint64_t>(absl::GetCurrentTimeNanos()));
  } while (!latest.compare_exchange_weak(previous, next));
  return next;
}

proto::HelloRequest MakeHello(const SessionOptions& options, uint32_t shard, uint32_t num_shards,
                              uint64_t incarnation) {
  proto::HelloRequest hello;
  hello.set_version(kPagodaVersion);
  hello.set_protocol(kProtocolVersion);
  hello.set_job(options.job);
  hello.set_rank(static_cast<uint32_t>(options.rank));
  hello.set_num_workers(static_cast<uint32_t>(options.num_workers));
  hello.set_shard(shard);
  hello.set_num_shards(num_shards);
  hello.set_mode(options.mode);
  hello.set_restoring(options.restoring);
  for (const proto::TableSpec& table : options.tables) *hello.add_tables() = table;
  hello.set_epoch(options.epoch);
  hello.set_timeout_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(options.timeout)));
  hello.set_training(options.training);
  hello.set_incarnation(incarnation);
  hello.set_applied_step(static_cast<uint64_t>(options.applied_step));
  return hello;
}

absl::Status CheckPulls(std::span<const TablePull> tables, const SessionOptions& options) {
  for (const TablePull& pull : tables) PAGODA_RETURN_IF_ERROR(CheckTable(pull.table, options));
  return absl::OkStatus();
}

absl::Status CheckPushes(std::span<const TablePush> tables, const SessionOptions& options) {
  if (!options.training) {
    return absl::FailedPreconditionError(
        absl::StrCat("the session of job '", options.job, "' only reads: it takes no push"));
  }
  for (const TablePush& push : tables) {
    PAGODA_RETURN_IF_ERROR(CheckTable(push.table, options));
    const proto::TableSpec& table = options.tables[static_cast<size_t>(push.table)];
    PAGODA_RETURN_IF_ERROR(CheckFinite(push.ids, push.gradients, table.dim(), table.name()));
  }
  return absl::OkStatus();
}

FanIn::FanIn(size_t parts, ParameterClient::Done done)
    : left_(parts), statuses_(parts), done_(std::move(done)) {}

void FanIn::Finish(size_t part, absl::Status status) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    statuses_[part] = std::move(status);
    if (--left_ > 0) return;
  }
  absl::Status result;
  for (const absl::Status& each : statuses_) {
    const bool consequence = absl::IsAborted(each) || absl::IsCancelled(each);
    if (each.ok() || (consequence && !result.ok())) continue;
    if (result.ok() || absl::IsAborted(result) || absl::IsCancelled(result)) result = each;
    if (!consequence) break;
  }
  done_(result);
}

}  // namespace pagoda

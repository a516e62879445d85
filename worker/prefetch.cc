#include "worker/prefetch.h"

#include <numeric>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "worker/stopwatch.h"

namespace pagoda {
namespace {

// The pass a batch belongs to, from the position after it. A reader may already
// stand at the start of the next pass when it has handed out the last batch.
int64_t PassOf(const ReaderPosition& after) {
  const bool at_start =
      after.epoch > 0 && after.window == 0 && after.window_row == 0 && after.row_in_window == 0;
  return at_start ? after.epoch - 1 : after.epoch;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Prefetcher>> Prefetcher::Start(const PrefetchOptions& options) {
  PAGODA_CHECK(options.declaration != nullptr && options.batches_ahead > 0);
  std::unique_ptr<Prefetcher> prefetcher(new Prefetcher(options));
  const OpenReaderFn open = options.open_reader ? options.open_reader : BatchReader::Open;
  PAGODA_ASSIGN_OR_RETURN(prefetcher->reader_, open(options.reader, options.start));
  prefetcher->thread_ = std::thread([raw = prefetcher.get()] { raw->Run(); });
  return prefetcher;
}

Prefetcher::~Prefetcher() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Prefetcher::Run() {
  for (int64_t index = 0;; ++index) {
    absl::StatusOr<std::unique_ptr<PrefetchedBatch>> batch = Make(index);
    std::unique_lock lock(mutex_);
    bad_rows_ = reader_->bad_rows();
    if (!batch.ok() || *batch == nullptr) {
      status_ = batch.status();
      ended_ = true;
      changed_.notify_all();
      return;
    }
    changed_.wait(lock, [this] {
      return stopping_ || static_cast<int64_t>(ready_.size()) < options_.batches_ahead;
    });
    if (stopping_) return;
    ready_.push_back(*std::move(batch));
    changed_.notify_all();
  }
}

absl::StatusOr<std::unique_ptr<PrefetchedBatch>> Prefetcher::Make(int64_t index) {
  Stopwatch watch;
  PAGODA_ASSIGN_OR_RETURN(std::optional<Batch> batch, reader_->Next());
  const double read_seconds = watch.Lap();
  if (!batch.has_value()) return nullptr;
  auto made = std::make_unique<PrefetchedBatch>();
  made->index = index;
  made->position = reader_->position();
  made->pass = PassOf(made->position);
  made->progress = reader_->progress();
  made->is_prepared = index % options_.prepare_every == options_.prepare_offset;
  if (made->is_prepared) {
    const std::string origin = batch->size > 0 ? batch->OriginRange() : std::string("empty batch");
    absl::StatusOr<PreparedBatch> prepared = PrepareBatch(
        options_.reader.schema, *options_.declaration, *std::move(batch), options_.use);
    if (!prepared.ok()) return WithContext(prepared.status(), origin);
    made->prepared = *std::move(prepared);
    if (options_.find_repeats) MarkRepeats(*made);
  } else {
    made->prepared.batch = *std::move(batch);
  }
  std::lock_guard lock(mutex_);
  read_seconds_ += read_seconds;
  prepare_seconds_ += watch.Lap();
  return made;
}

void Prefetcher::MarkRepeats(PrefetchedBatch& batch) {
  const auto& unique_ids = batch.prepared.unique_ids;
  batch.repeats.resize(unique_ids.size());
  before_.resize(unique_ids.size());
  for (size_t table = 0; table < unique_ids.size(); ++table) {
    if (table < options_.repeat_all.size() && options_.repeat_all[table]) {
      batch.repeats[table].resize(unique_ids[table].size());
      std::iota(batch.repeats[table].begin(), batch.repeats[table].end(), 0);
      continue;
    }
    const absl::flat_hash_set<FeatureId> before(before_[table].begin(), before_[table].end());
    for (size_t i = 0; i < unique_ids[table].size(); ++i) {
      if (before.contains(unique_ids[table][i])) {
        batch.repeats[table].push_back(static_cast<int32_t>(i));
      }
    }
    before_[table] = unique_ids[table];
  }
}

bool Prefetcher::Ready() {
  std::lock_guard lock(mutex_);
  return !ready_.empty() || ended_;
}

absl::StatusOr<std::unique_ptr<PrefetchedBatch>> Prefetcher::Next(absl::Duration wait) {
  std::unique_lock lock(mutex_);
  const bool ready = changed_.wait_for(lock, absl::ToChronoNanoseconds(wait),
                                       [this] { return !ready_.empty() || ended_; });
  if (!ready) {
    return absl::DeadlineExceededError(
        absl::StrCat("no batch was read within ", absl::FormatDuration(wait)));
  }
  if (ready_.empty()) {
    PAGODA_RETURN_IF_ERROR(status_);
    return nullptr;
  }
  std::unique_ptr<PrefetchedBatch> batch = std::move(ready_.front());
  ready_.pop_front();
  changed_.notify_all();
  return batch;
}

double Prefetcher::read_seconds() {
  std::lock_guard lock(mutex_);
  return read_seconds_;
}

double Prefetcher::prepare_seconds() {
  std::lock_guard lock(mutex_);
  return prepare_seconds_;
}

int64_t Prefetcher::bad_rows() {
  std::lock_guard lock(mutex_);
  return bad_rows_;
}

absl::StatusOr<std::unique_ptr<PrefetchedBatch>> NextWhileHealthy(Prefetcher& prefetcher,
                                                                  const ParameterClient& client) {
  for (;;) {
    auto batch = prefetcher.Next(absl::Milliseconds(200));
    if (!absl::IsDeadlineExceeded(batch.status())) return batch;
    PAGODA_RETURN_IF_ERROR(client.Health());
  }
}

}  // namespace pagoda

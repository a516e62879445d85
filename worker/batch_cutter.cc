#include "worker/batch_cutter.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {

BatchCutter::BatchCutter(const CutterOptions& options, const CutPosition& start,
                         NextWindow next_window)
    : options_(options),
      next_window_(std::move(next_window)),
      row_in_window_(start.row_in_window),
      epoch_(start.start.epoch),
      global_sample_(start.global_sample) {
  PAGODA_CHECK(options.batch_size > 0 && options.num_workers > 0);
  PAGODA_CHECK(options.rank >= 0 && options.rank < options.num_workers);
}

absl::Status BatchCutter::NeedWindow() {
  if (window_ == nullptr) {
    PAGODA_ASSIGN_OR_RETURN(window_, next_window_());
    if (row_in_window_ > static_cast<int64_t>(window_->rows.size())) {
      return absl::FailedPreconditionError(
          absl::StrCat("the data position names row ", row_in_window_, " of a window that has ",
                       window_->rows.size(), " rows; has the data changed?"));
    }
  }
  while (row_in_window_ == static_cast<int64_t>(window_->rows.size()) && !window_->last) {
    PAGODA_ASSIGN_OR_RETURN(window_, next_window_());
    row_in_window_ = 0;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<BatchCutter::Span>> BatchCutter::Gather(int64_t n) {
  std::vector<Span> spans;
  while (n > 0) {
    PAGODA_RETURN_IF_ERROR(NeedWindow());
    const int64_t left = static_cast<int64_t>(window_->rows.size()) - row_in_window_;
    if (left == 0) break;  // The epoch ends.
    const int64_t take = std::min(n, left);
    spans.push_back(Span{window_, row_in_window_, row_in_window_ + take});
    row_in_window_ += take;
    n -= take;
  }
  return spans;
}

CutPosition BatchCutter::Position() const {
  if (row_in_window_ == static_cast<int64_t>(window_->rows.size())) {
    return CutPosition{window_->next, 0, global_sample_};
  }
  return CutPosition{window_->start, row_in_window_, global_sample_};
}

double BatchCutter::Progress() const {
  const double rows = static_cast<double>(std::max<size_t>(1, window_->rows.size()));
  const double part = std::min(1.0, static_cast<double>(row_in_window_) / rows);
  const double of_epoch =
      window_->progress_begin + part * (window_->progress_end - window_->progress_begin);
  return std::clamp((static_cast<double>(epoch_) + of_epoch) / static_cast<double>(options_.epochs),
                    0.0, 1.0);
}

std::optional<RawBatch> BatchCutter::Share(const std::vector<Span>& spans, int64_t total,
                                           int64_t batch_of_epoch, uint64_t batch_first) const {
  int64_t begin = 0, end = total;
  RawBatch batch;
  batch.first_sample = batch.global_first_sample = batch_first;
  if (options_.share == BatchShare::kSlice) {
    begin = total * options_.rank / options_.num_workers;
    end = total * (options_.rank + 1) / options_.num_workers;
    batch.first_sample += static_cast<uint64_t>(begin);
  } else if (options_.share == BatchShare::kRoundRobin) {
    if (batch_of_epoch % options_.num_workers != options_.rank) return std::nullopt;
  } else {
    batch.first_sample +=
        static_cast<uint64_t>(options_.batch_size * options_.rank / options_.num_workers);
  }
  const bool whole =
      options_.whole && options_.share == BatchShare::kSlice && options_.num_workers > 1;
  batch.rows.reserve(static_cast<size_t>(end - begin));
  batch.first_of_whole = whole ? begin : 0;
  int64_t at = 0;
  for (const Span& span : spans) {
    const int64_t size = span.end - span.begin;
    const int64_t from = std::max(begin - at, int64_t{0});
    const int64_t to = std::min(end - at, size);
    const auto first = span.window->rows.begin() + span.begin;
    if (from < to) batch.rows.insert(batch.rows.end(), first + from, first + to);
    if (whole) batch.whole.insert(batch.whole.end(), first, first + size);
    if (from < to || whole) batch.windows.push_back(span.window);
    at += size;
  }
  return batch;
}

absl::StatusOr<std::optional<RawBatch>> BatchCutter::Next() {
  const int64_t global = options_.batch_size;
  const int64_t n = options_.share == BatchShare::kWhole
                        ? global * (options_.rank + 1) / options_.num_workers -
                              global * options_.rank / options_.num_workers
                        : global;
  while (epoch_ < options_.epochs) {
    PAGODA_RETURN_IF_ERROR(NeedWindow());
    const int64_t batch_of_epoch = (window_->start.row + row_in_window_) / global;
    PAGODA_ASSIGN_OR_RETURN(const std::vector<Span> spans, Gather(n));
    int64_t total = 0;
    for (const Span& span : spans) total += span.end - span.begin;

    const uint64_t batch_first = global_sample_;
    const bool handed_out = total > 0 && (total == n || !options_.drop_last);
    std::optional<RawBatch> batch;
    if (handed_out) {
      const int64_t counted = options_.share == BatchShare::kWhole ? global : total;
      global_sample_ += static_cast<uint64_t>(counted);
      batch = Share(spans, total, batch_of_epoch, batch_first);
      if (batch.has_value()) {
        batch->after = Position();
        batch->progress = Progress();
      }
    }
    if (total < n) {  // The epoch is over.
      ++epoch_;
      window_.reset();
      row_in_window_ = 0;
    }
    if (batch.has_value()) return batch;
  }
  return std::optional<RawBatch>();
}

}  // namespace pagoda

// A reader that spoils chosen samples of another: for what must happen when a number
// is not finite.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "worker/batch_reader.h"

namespace pagoda {

// Changes row `row` of `batch`; called for the samples of the given lines.
using SpoilFn = std::function<void(Batch& batch, int64_t row)>;

class PlantingReader final : public BatchReader {
 public:
  PlantingReader(std::unique_ptr<BatchReader> inner, int64_t line, SpoilFn spoil)
      : inner_(std::move(inner)), line_(line), spoil_(std::move(spoil)) {}

  absl::StatusOr<std::optional<Batch>> Next() override {
    auto batch = inner_->Next();
    if (!batch.ok() || !batch->has_value()) return batch;
    for (int64_t row = 0; row < (*batch)->size; ++row) {
      if ((*batch)->origins[static_cast<size_t>(row)].line == line_) spoil_(**batch, row);
    }
    return batch;
  }
  ReaderPosition position() const override { return inner_->position(); }
  int64_t bad_rows() const override { return inner_->bad_rows(); }
  double progress() const override { return inner_->progress(); }

 private:
  const std::unique_ptr<BatchReader> inner_;
  const int64_t line_;
  const SpoilFn spoil_;
};

// For TrainerOptions::open_reader: spoils the samples of line `line` of every file.
inline OpenReaderFn PlantAt(int64_t line, SpoilFn spoil) {
  return [=](const ReaderOptions& options,
             const ReaderPosition& start) -> absl::StatusOr<std::unique_ptr<BatchReader>> {
    auto inner = BatchReader::Open(options, start);
    if (!inner.ok()) return inner.status();
    return std::make_unique<PlantingReader>(*std::move(inner), line, spoil);
  };
}

}  // namespace pagoda

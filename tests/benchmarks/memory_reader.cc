#include "tests/benchmarks/memory_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/benchmarks/npy_file.h"

namespace pagoda {
namespace {

class MemoryReader final : public BatchReader {
 public:
  MemoryReader(BatchList batches, int64_t passes) : batches_(std::move(batches)), passes_(passes) {}

  absl::StatusOr<std::optional<Batch>> Next() override {
    const auto count = static_cast<int64_t>(batches_->size());
    if (next_ == count * passes_) return std::optional<Batch>();
    Batch batch = (*batches_)[static_cast<size_t>(next_ % count)];
    position_.epoch = next_ / count;
    batch.first_sample = position_.global_sample;
    position_.global_sample += static_cast<uint64_t>(batch.size);
    ++next_;
    return std::optional<Batch>(std::move(batch));
  }

  ReaderPosition position() const override { return position_; }
  int64_t bad_rows() const override { return 0; }
  double progress() const override {
    return static_cast<double>(next_) /
           static_cast<double>(static_cast<int64_t>(batches_->size()) * passes_);
  }

 private:
  const BatchList batches_;
  const int64_t passes_;
  int64_t next_ = 0;
  ReaderPosition position_;
};

// Samples [first, first + size) of the arrays.
Batch Slice(const NpyArray<int64_t>& ids, const NpyArray<float>& dense,
            const NpyArray<float>& labels, int64_t first, int64_t size) {
  const auto columns = static_cast<size_t>(ids.shape[1]);
  const int64_t num_dense = dense.shape[1];
  Batch batch;
  batch.size = size;
  batch.sparse.resize(columns);
  for (size_t c = 0; c < columns; ++c) {
    RaggedIds& feature = batch.sparse[c];
    for (int64_t i = first; i < first + size; ++i) {
      feature.ids.push_back(
          static_cast<FeatureId>(ids.values[static_cast<size_t>(i) * columns + c]));
      feature.offsets.push_back(static_cast<int32_t>(feature.ids.size()));
    }
  }
  batch.dense.assign(dense.values.begin() + first * num_dense,
                     dense.values.begin() + (first + size) * num_dense);
  batch.labels.assign(labels.values.begin() + first, labels.values.begin() + first + size);
  batch.weights.assign(static_cast<size_t>(size), 1.0f);
  for (int64_t i = 0; i < size; ++i) batch.origins.push_back({0, first + i + 1});
  return batch;
}

}  // namespace

OpenReaderFn ReadFromMemory(BatchList batches) {
  return [batches = std::move(batches)](
             const ReaderOptions& options,
             const ReaderPosition& start) -> absl::StatusOr<std::unique_ptr<BatchReader>> {
    if (options.num_workers != 1 || start.global_sample != 0) {
      return absl::UnimplementedError("batches in memory are for one worker, from the start");
    }
    return std::make_unique<MemoryReader>(batches, options.epochs);
  };
}

absl::StatusOr<BatchList> LoadCriteoBatches(const std::string& directory, int64_t batch_size,
                                            int64_t count) {
  PAGODA_ASSIGN_OR_RETURN(const auto ids, ReadNpy<int64_t>(directory + "/ids.npy"));
  PAGODA_ASSIGN_OR_RETURN(const auto dense, ReadNpy<float>(directory + "/dense.npy"));
  PAGODA_ASSIGN_OR_RETURN(const auto labels, ReadNpy<float>(directory + "/labels.npy"));
  if (ids.shape.size() != 2 || dense.shape.size() != 2 || labels.shape.size() != 1 ||
      ids.shape[0] != labels.shape[0] || dense.shape[0] != labels.shape[0]) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory, ": ids.npy, dense.npy and labels.npy do not fit together"));
  }
  const int64_t num_batches = std::min(count, labels.shape[0] / batch_size);
  if (num_batches < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory, " holds less than one batch of ", batch_size, " samples"));
  }
  auto batches = std::make_shared<std::vector<Batch>>();
  for (int64_t b = 0; b < num_batches; ++b) {
    batches->push_back(Slice(ids, dense, labels, b * batch_size, batch_size));
  }
  return BatchList(std::move(batches));
}

}  // namespace pagoda

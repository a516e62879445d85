// A BatchReader over batches that a test made.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "worker/batch_reader.h"

namespace pagoda {

// One categorical feature "f" per inner list: sample i has exactly the ids ids[i].
inline Batch BatchOfIds(const std::vector<std::vector<FeatureId>>& ids) {
  Batch batch;
  batch.size = static_cast<int64_t>(ids.size());
  batch.sparse.resize(1);
  for (const std::vector<FeatureId>& sample : ids) {
    batch.sparse[0].ids.insert(batch.sparse[0].ids.end(), sample.begin(), sample.end());
    batch.sparse[0].offsets.push_back(static_cast<int32_t>(batch.sparse[0].ids.size()));
    batch.labels.push_back(1.0f);
  }
  return batch;
}

class ListReader final : public BatchReader {
 public:
  // `last`: what Next returns after the batches; OK: the end.
  ListReader(std::vector<Batch> batches, absl::Status last)
      : batches_(std::move(batches)), last_(std::move(last)) {}

  absl::StatusOr<std::optional<Batch>> Next() override {
    if (next_ == batches_.size()) {
      if (!last_.ok()) return last_;
      return std::optional<Batch>();
    }
    position_.row_in_window += batches_[next_].size;
    return std::optional<Batch>(batches_[next_++]);
  }
  ReaderPosition position() const override { return position_; }
  int64_t bad_rows() const override { return 0; }
  double progress() const override {
    return batches_.empty() ? 1.0
                            : static_cast<double>(next_) / static_cast<double>(batches_.size());
  }

 private:
  std::vector<Batch> batches_;
  const absl::Status last_;
  size_t next_ = 0;
  ReaderPosition position_;
};

inline OpenReaderFn ReadFromList(std::vector<Batch> batches, absl::Status last = absl::OkStatus()) {
  return [=](const ReaderOptions&,
             const ReaderPosition&) -> absl::StatusOr<std::unique_ptr<BatchReader>> {
    return std::make_unique<ListReader>(batches, last);
  };
}

// The schema and declaration that BatchOfIds fits: table "f" of dimension 2.
inline FeatureSchema OneFeatureSchema() {
  FeatureSchema schema;
  schema.features.resize(1);
  schema.features[0].name = "f";
  schema.label = "label";
  return schema;
}
inline Declaration OneTableDeclaration() {
  Declaration declaration;
  TableDecl table;
  table.name = "f";
  table.dim = 2;
  const TableHandle handle = declaration.AddTable(table);
  LookupDecl lookup;
  lookup.features = {0};
  lookup.tables = {handle.index};
  declaration.AddLookup(lookup);
  return declaration;
}

}  // namespace pagoda

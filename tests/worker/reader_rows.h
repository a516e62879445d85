// Generated files whose rows say which they are, and what a reader made of them.
#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "tests/worker/data_files.h"
#include "worker/batch_reader.h"

namespace pagoda::testing {

// Row i of every generated file has this in its columns, so that a batch tells which
// rows it holds: id is the row's number over all files.
inline std::string RowText(int64_t i) {
  return absl::StrCat(i, ",", i % 7, ",", i % 2, ",g", i % 5);
}

inline std::string FileText(int64_t begin, int64_t end, bool header = true) {
  std::string text = header ? "id,x,y,g\n" : "";
  for (int64_t i = begin; i < end; ++i) text += RowText(i) + "\n";
  return text;
}

inline FeatureSchema IdSchema() {
  FeatureSchema schema;
  schema.features.resize(2);
  schema.features[0].name = "id";
  schema.features[0].kind = FeatureKind::kId;
  schema.features[1].name = "x";
  schema.features[1].kind = FeatureKind::kNumeric;
  schema.label = "y";
  schema.group = "g";
  return schema;
}

inline ReaderOptions OptionsFor(std::vector<std::string> files, int64_t batch_size) {
  ReaderOptions options;
  options.data.files = std::move(files);
  options.schema = IdSchema();
  options.batch_size = batch_size;
  return options;
}

inline std::unique_ptr<BatchReader> Open(const ReaderOptions& options,
                                         const ReaderPosition& start = {}) {
  absl::StatusOr<std::unique_ptr<BatchReader>> reader = BatchReader::Open(options, start);
  INFO(reader.status());
  REQUIRE(reader.ok());
  return std::move(*reader);
}

struct Seen {
  std::vector<int64_t> rows;
  uint64_t first_sample = 0;
  ReaderPosition after;
  friend bool operator==(const Seen& a, const Seen& b) {
    return a.rows == b.rows && a.first_sample == b.first_sample;
  }
};

inline std::vector<int64_t> RowsOf(const Batch& batch) {
  std::vector<int64_t> rows;
  REQUIRE(batch.sparse.size() == 1);
  REQUIRE(static_cast<int64_t>(batch.labels.size()) == batch.size);
  REQUIRE(static_cast<int64_t>(batch.weights.size()) == batch.size);
  REQUIRE(static_cast<int64_t>(batch.groups.size()) == batch.size);
  REQUIRE(static_cast<int64_t>(batch.origins.size()) == batch.size);
  REQUIRE(static_cast<int64_t>(batch.dense.size()) == batch.size);
  REQUIRE(static_cast<int64_t>(batch.sparse[0].offsets.size()) == batch.size + 1);
  for (size_t i = 0; i < static_cast<size_t>(batch.size); ++i) {
    const int64_t row = static_cast<int64_t>(batch.sparse[0].ids[i]);
    CHECK(batch.sparse[0].offsets[i + 1] == static_cast<int32_t>(i + 1));
    CHECK(batch.dense[i] == static_cast<float>(row % 7));
    CHECK(batch.labels[i] == static_cast<float>(row % 2));
    CHECK(batch.weights[i] == 1.0f);
    CHECK(batch.groups[i] == HashFeature("g", absl::StrCat("g", row % 5)));
    rows.push_back(row);
  }
  return rows;
}

inline std::vector<Seen> ReadAllBatches(BatchReader& reader) {
  std::vector<Seen> all;
  for (;;) {
    absl::StatusOr<std::optional<Batch>> batch = reader.Next();
    INFO(batch.status());
    REQUIRE(batch.ok());
    if (!batch->has_value()) return all;
    all.push_back(Seen{RowsOf(**batch), (*batch)->first_sample, reader.position()});
  }
}

inline std::vector<Seen> ReadAllBatches(const ReaderOptions& options,
                                        const ReaderPosition& start = {}) {
  return ReadAllBatches(*Open(options, start));
}

}  // namespace pagoda::testing

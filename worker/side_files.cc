#include "worker/side_files.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "algorithms/nn/joined_rows.h"
#include "algorithms/nn/model_options.h"
#include "base/status_macros.h"
#include "worker/batch_reader.h"
#include "worker/data_columns.h"
#include "worker/file_glob.h"

namespace pagoda {
namespace {

// Rows parsed at a time; the memory bound is looked at between them.
constexpr int64_t kRowsAtOnce = 4096;
// Of a hash map's entry, its load factor counted.
constexpr int64_t kBytesPerKey = 32;

absl::Status CheckNames(const FeatureSchema& schema) {
  std::set<std::string> names;
  for (const JoinSpec& join : schema.joins) {
    if (!names.insert(join.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("two joins have the name '", join.name, "'"));
    }
  }
  for (const FeatureSpec& feature : schema.features) {
    if (feature.join.empty() || names.contains(feature.join)) continue;
    const std::string nearest = NearestName(feature.join, {names.begin(), names.end()});
    return absl::InvalidArgumentError(absl::StrCat(
        "feature '", feature.name, "' names join '", feature.join, "', which is not there",
        nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?")));
  }
  return absl::OkStatus();
}

// The join's features alone, as columns of its files; the key stands in for the group.
FeatureSchema SideSchema(const FeatureSchema& schema, const JoinSpec& join) {
  FeatureSchema side;
  for (const FeatureSpec& feature : schema.features) {
    if (feature.join != join.name) continue;
    side.features.push_back(feature);
    side.features.back().join.clear();
    side.features.back().optional = false;
  }
  side.group = join.key_name();
  return side;
}

absl::Status CheckKeyColumn(const DataOptions& data, const JoinSpec& join) {
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> files, ExpandFiles(data.files));
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          ReadColumnNames(data, files, false));
  if (std::find(names.begin(), names.end(), join.key_name()) != names.end()) {
    return absl::OkStatus();
  }
  const std::string nearest = NearestName(join.key_name(), names);
  return absl::InvalidArgumentError(
      absl::StrCat(files[0], ": there is no key column '", join.key_name(), "'",
                   nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?")));
}

class SideFile {
 public:
  explicit SideFile(const JoinSpec& join) : join_(join) { rows_->key_column = join.key_name(); }

  absl::Status Append(const Batch& batch) {
    rows_->sparse.resize(batch.sparse.size());
    for (size_t i = 0; i < batch.groups.size(); ++i) {
      const int64_t row = rows_->num_rows();
      if (rows_->row_of_key.emplace(batch.groups[i], row).second) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(OriginOf(batch, i), ": an earlier row has the same key"));
    }
    for (size_t k = 0; k < batch.sparse.size(); ++k) {
      JoinedRows::Ids& to = rows_->sparse[k];
      const auto before = static_cast<int64_t>(to.ids.size());
      to.ids.insert(to.ids.end(), batch.sparse[k].ids.begin(), batch.sparse[k].ids.end());
      for (size_t i = 1; i < batch.sparse[k].offsets.size(); ++i) {
        to.ends.push_back(before + batch.sparse[k].offsets[i]);
      }
    }
    rows_->dense.insert(rows_->dense.end(), batch.dense.begin(), batch.dense.end());
    return CheckSize(batch);
  }

  std::shared_ptr<const JoinedRows> Finish() { return std::move(rows_); }

 private:
  static std::string OriginOf(const Batch& batch, size_t i) {
    const SampleOrigin& origin = batch.origins[i];
    return absl::StrCat((*batch.files)[static_cast<size_t>(origin.file)], ":", origin.line);
  }

  absl::Status CheckSize(const Batch& batch) const {
    auto bytes = rows_->num_rows() * kBytesPerKey +
                 static_cast<int64_t>(rows_->dense.capacity() * sizeof(float));
    for (const JoinedRows::Ids& ids : rows_->sparse) {
      bytes += static_cast<int64_t>(ids.ids.capacity() * sizeof(FeatureId) +
                                    ids.ends.capacity() * sizeof(int64_t));
    }
    if (bytes <= join_.memory_bytes_max &&
        rows_->num_rows() < std::numeric_limits<int32_t>::max()) {
      return absl::OkStatus();
    }
    return absl::ResourceExhaustedError(
        absl::StrCat("the rows up to ", OriginOf(batch, batch.origins.size() - 1), " need ", bytes,
                     " bytes; memory_bytes_max is ", join_.memory_bytes_max));
  }

  const JoinSpec& join_;
  std::shared_ptr<JoinedRows> rows_ = std::make_shared<JoinedRows>();
};

absl::StatusOr<std::shared_ptr<const JoinedRows>> Load(const FeatureSchema& schema,
                                                       const JoinSpec& join) {
  ReaderOptions options;
  options.data.files = join.files;
  options.data.format = join.format;
  options.schema = SideSchema(schema, join);
  options.batch_size = kRowsAtOnce;
  if (options.schema.features.empty()) {
    return absl::InvalidArgumentError("no feature reads it (features have the key 'join')");
  }
  if (join.format != "csv" && join.format != "tsv") {
    return absl::InvalidArgumentError(
        absl::StrCat("the format of side files must be csv or tsv, not '", join.format, "'"));
  }
  PAGODA_RETURN_IF_ERROR(CheckKeyColumn(options.data, join));
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<BatchReader> reader, BatchReader::Open(options));
  SideFile file(join);
  for (;;) {
    PAGODA_ASSIGN_OR_RETURN(const std::optional<Batch> batch, reader->Next());
    if (!batch.has_value()) return file.Finish();
    PAGODA_RETURN_IF_ERROR(file.Append(*batch));
  }
}

}  // namespace

absl::Status LoadJoins(FeatureSchema* schema) {
  PAGODA_RETURN_IF_ERROR(CheckNames(*schema));
  for (JoinSpec& join : schema->joins) {
    if (join.rows != nullptr) continue;
    absl::StatusOr<std::shared_ptr<const JoinedRows>> rows = Load(*schema, join);
    if (!rows.ok()) return WithContext(rows.status(), absl::StrCat("join '", join.name, "'"));
    join.rows = *std::move(rows);
  }
  return absl::OkStatus();
}

}  // namespace pagoda

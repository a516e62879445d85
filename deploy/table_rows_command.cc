// `pagoda table scan | top | compact`: many rows on disk.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <queue>
#include <system_error>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "deploy/commands.h"
#include "deploy/stored_rows.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

//   NOT_FOUND  `table` is not empty and none of those stored (names them)
absl::Status CheckTable(StoredRows& rows, const std::string& table) {
  PAGODA_ASSIGN_OR_RETURN(const auto tables, rows.Tables());
  if (table.empty() || tables.count(table) > 0) return absl::OkStatus();
  std::string names;
  for (const auto& entry : tables) absl::StrAppend(&names, names.empty() ? "" : ", ", entry.first);
  return absl::NotFoundError(absl::StrCat("there is no table '", table, "'; tables: ", names));
}

void AppendNumbers(std::string* line, const std::vector<float>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) line->push_back(' ');
    absl::StrAppendFormat(line, "%.9g", values[i]);
  }
}

// A cell as RFC 4180 has it, or with the bytes that separate TSV replaced.
std::string Cell(const std::string& text, bool csv) {
  if (!csv) return absl::StrReplaceAll(text, {{"\t", " "}, {"\n", " "}});
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

struct TopRow {
  double score = 0;
  std::string table;
  FeatureId id = 0;
  Step last_step = 0;
  double norm = 0;
};

// Best first; what has the same score, by name and id.
bool Better(const TopRow& a, const TopRow& b) {
  return std::tie(b.score, a.table, a.id) < std::tie(a.score, b.table, b.id);
}

double NormOf(const StoredRow& row) {
  double sum = 0;
  for (const float w : row.weights) sum += double{w} * w;
  return std::sqrt(sum);
}

// Size of all files below `directory`.
uint64_t BytesUnder(const std::string& directory) {
  uint64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(directory, error)) {
    std::error_code gone;
    const uint64_t size = entry.is_regular_file(gone) ? entry.file_size(gone) : 0;
    if (!gone) bytes += size;
  }
  return bytes;
}

}  // namespace

absl::StatusOr<int> RunTableScan(const TableScanArguments& arguments) {
  FeatureId from = 0;
  if (!arguments.from_id.empty() && !absl::SimpleAtoi(arguments.from_id, &from)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--from-id ", arguments.from_id, " is not a decimal number below 2^64"));
  }
  const std::pair<uint32_t, FeatureId> begin = arguments.from_id.empty()
                                                   ? std::pair<uint32_t, FeatureId>(0, 0)
                                                   : std::pair(BucketOf(from), from);
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<StoredRows> rows, StoredRows::Open(arguments.path));
  PAGODA_RETURN_IF_ERROR(CheckTable(*rows, arguments.table));
  const char* const comma = arguments.csv ? "," : "\t";
  absl::PrintF("table%sid%slast_step%sweights%sslots\n", comma, comma, comma, comma);
  int64_t printed = 0;
  bool written = true;
  std::string line;
  PAGODA_RETURN_IF_ERROR(rows->ScanWhile([&](const std::string& table, const StoredRow& row) {
    if (!arguments.table.empty() && table != arguments.table) return true;
    if (std::pair(BucketOf(row.id), row.id) < begin) return true;
    line = absl::StrCat(Cell(table, arguments.csv), comma, row.id, comma, row.last_step, comma);
    AppendNumbers(&line, row.weights);
    line.append(comma);
    AppendNumbers(&line, row.slots);
    line.push_back('\n');
    written = std::fwrite(line.data(), 1, line.size(), stdout) == line.size();
    ++printed;
    return written && printed != arguments.limit;
  }));
  if (written && std::fflush(stdout) == 0) return 0;
  return absl::UnavailableError(absl::StrCat("writing to stdout failed after ", printed, " rows"));
}

absl::StatusOr<int> RunTableTop(const TableTopArguments& arguments) {
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<StoredRows> rows, StoredRows::Open(arguments.path));
  PAGODA_RETURN_IF_ERROR(CheckTable(*rows, arguments.table));
  // The worst of the best so far is on top.
  std::priority_queue<TopRow, std::vector<TopRow>, bool (*)(const TopRow&, const TopRow&)> best(
      Better);
  PAGODA_RETURN_IF_ERROR(rows->Scan([&](const std::string& table, const StoredRow& row) {
    if (!arguments.table.empty() && table != arguments.table) return;
    TopRow candidate{0, table, row.id, row.last_step, NormOf(row)};
    candidate.score = arguments.by == "step" ? static_cast<double>(row.last_step) : candidate.norm;
    const bool full = best.size() == static_cast<size_t>(arguments.count);
    if (full && !Better(candidate, best.top())) return;
    if (full) best.pop();
    best.push(std::move(candidate));
  }));
  std::vector<TopRow> sorted;
  for (; !best.empty(); best.pop()) sorted.push_back(best.top());
  absl::PrintF("table\tid\tlast_step\tnorm\n");
  for (auto row = sorted.rbegin(); row != sorted.rend(); ++row) {
    absl::PrintF("%s\t%d\t%d\t%.9g\n", Cell(row->table, false), row->id, row->last_step, row->norm);
  }
  return 0;
}

absl::StatusOr<int> RunTableCompact(const std::string& path) {
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> directories, StoreDirectories(path));
  const std::string& store_path = directories[0];
  if (directories.size() != 1 || !fs::exists(store_path + "/CURRENT")) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is not a server's data directory; a cut cannot be compacted"));
  }
  const uint64_t before = BytesUnder(store_path);
  {
    StoreOptions options;
    options.path = store_path;
    options.evicts_by_policy = false;
    PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<EmbeddingStore> store,
                            EmbeddingStore::Open(options));
    PAGODA_RETURN_IF_ERROR(store->Compact());
  }
  const uint64_t after = BytesUnder(store_path);
  absl::PrintF("%s: %d bytes before, %d after\n", store_path, before, after);
  if (fs::exists(fs::path(store_path).parent_path() / "cuts")) {
    absl::PrintF("cuts keep the files that they share: what was dropped is free when they are\n");
  }
  return 0;
}

}  // namespace pagoda

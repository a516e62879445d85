#include "tests/golden/golden_content.h"

#include <algorithm>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "embedding_store/delta_file.h"

namespace pagoda {
namespace {

std::string NumbersText(const std::vector<float>& values) {
  std::string text = "[";
  for (const float value : values) absl::StrAppendFormat(&text, " %a", value);
  return text + " ]";
}

std::string Sorted(std::vector<std::string> lines) {
  std::sort(lines.begin(), lines.end());
  return absl::StrJoin(lines, "");
}

}  // namespace

std::string RowsText(EmbeddingStore& store) {
  const std::vector<TableOptions> tables = store.tables();
  std::vector<std::string> lines;
  const absl::Status scanned = store.Scan([&](uint32_t table, const StoredRow& row) {
    lines.push_back(absl::StrCat(tables[table].name, " ", row.id, " step ", row.last_step,
                                 " weights ", NumbersText(row.weights), " slots ",
                                 NumbersText(row.slots), "\n"));
    return true;
  });
  PAGODA_CHECK(scanned.ok());
  return Sorted(std::move(lines));
}

absl::StatusOr<std::string> DeltaText(const std::string& directory) {
  struct Kept {
    uint32_t table;
    std::string rest;
  };
  std::vector<Kept> rows;
  PAGODA_ASSIGN_OR_RETURN(
      const Delta delta, ReadDelta(FileSystem::Real(), directory, [&](const DeltaRow& row) {
        rows.push_back({row.table, absl::StrCat(" ", row.id, row.deleted ? " deleted " : " stored ",
                                                absl::BytesToHexString(row.value), "\n")});
        return absl::OkStatus();
      }));
  std::vector<std::string> lines;
  for (const Kept& row : rows) lines.push_back(delta.tables.at(row.table).name + row.rest);
  return Sorted(std::move(lines));
}

}  // namespace pagoda

#include "worker/libsvm_format.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/number_text.h"

namespace pagoda {
namespace {

bool IsBlank(char c) {
  return c == ' ' || c == '\t';
}

// The next entry of `rest`, which loses it; empty at the end.
absl::string_view TakeEntry(absl::string_view* rest) {
  size_t begin = 0;
  while (begin < rest->size() && IsBlank((*rest)[begin])) ++begin;
  size_t end = begin;
  while (end < rest->size() && !IsBlank((*rest)[end])) ++end;
  const absl::string_view entry = rest->substr(begin, end - begin);
  rest->remove_prefix(end);
  return entry;
}

// What both formats share: slots by number (a field, or an index), and one slot each
// for the label, the query and the list of all features; -1: not wanted.
struct SparseColumns {
  int num_slots = 0;
  int label = -1;
  int query = -1;
  int features = -1;
  absl::flat_hash_map<uint64_t, int> numbered;
};

class SparseParser : public RowParser {
 public:
  SparseParser(SparseColumns columns, bool with_fields)
      : columns_(std::move(columns)), with_fields_(with_fields) {}

  bool Parse(absl::string_view line, RowCells* cells, RowError* error) const override {
    cells->text.assign(static_cast<size_t>(columns_.num_slots), absl::string_view());
    cells->column.assign(static_cast<size_t>(columns_.num_slots), 0);
    absl::string_view rest = line.substr(0, line.find('#'));
    const absl::string_view label = TakeEntry(&rest);
    if (label.empty() || absl::StrContains(label, ':')) {
      error->column = 1;
      error->message = "the row does not begin with a label";
      return false;
    }
    Set(columns_.label, label, 1, cells);
    return with_fields_ ? ParseFields(rest, cells, error) : ParseIndices(rest, cells, error);
  }

 private:
  static void Set(int slot, absl::string_view text, int32_t column, RowCells* cells) {
    if (slot < 0) return;
    cells->text[static_cast<size_t>(slot)] = text;
    cells->column[static_cast<size_t>(slot)] = column;
  }

  static bool Bad(int32_t column, absl::string_view entry, const char* form, RowError* error) {
    error->column = column;
    error->message = absl::StrCat(Quoted(entry), " is not of the form ", form);
    return false;
  }

  // true when the value is a finite number; *present tells whether it is not 0.
  static bool ReadValue(absl::string_view text, bool* present) {
    double value = 0.0;
    if (ParseNumber(text, &value) != NumberError::kNone) return false;
    *present = value != 0.0;
    return true;
  }

  bool ParseIndices(absl::string_view rest, RowCells* cells, RowError* error) const {
    // The list is rewritten from the entries, so it never outgrows them.
    cells->rewritten.clear();
    cells->rewritten.reserve(rest.size() + 1);
    int32_t column = 2;
    for (absl::string_view entry = TakeEntry(&rest); !entry.empty();
         entry = TakeEntry(&rest), ++column) {
      const size_t colon = entry.find(':');
      if (colon == absl::string_view::npos) return Bad(column, entry, "index:value", error);
      const absl::string_view name = entry.substr(0, colon);
      const absl::string_view value = entry.substr(colon + 1);
      if (name == "qid") {
        Set(columns_.query, value, column, cells);
        continue;
      }
      uint64_t index = 0;
      bool present = false;
      if (!ParseId(name, &index) || !ReadValue(value, &present)) {
        return Bad(column, entry, "index:value (an unsigned integer and a finite number)", error);
      }
      if (present && columns_.features >= 0) {
        if (!cells->rewritten.empty()) cells->rewritten.push_back(kListSeparator);
        cells->rewritten.append(name.data(), name.size());
      }
      const auto found = columns_.numbered.find(index);
      if (found == columns_.numbered.end()) continue;
      if (cells->column[static_cast<size_t>(found->second)] != 0) {
        error->column = column;
        error->message = absl::StrCat("index ", index, " is given twice");
        return false;
      }
      Set(found->second, value, column, cells);
    }
    if (columns_.features >= 0) Set(columns_.features, cells->rewritten, 2, cells);
    return true;
  }

  // One list per wanted field: entries of a field need not be neighbours, so the lists
  // are gathered in one pass per field over the (few) entries that are its own.
  bool ParseFields(absl::string_view entries, RowCells* cells, RowError* error) const {
    cells->ends.clear();  // Slot, begin and end of the index of each wanted entry.
    int32_t column = 2;
    absl::string_view rest = entries;
    for (absl::string_view entry = TakeEntry(&rest); !entry.empty();
         entry = TakeEntry(&rest), ++column) {
      const size_t first = entry.find(':');
      const size_t second = first == absl::string_view::npos ? first : entry.find(':', first + 1);
      if (second == absl::string_view::npos) return Bad(column, entry, "field:index:value", error);
      const absl::string_view index_text = entry.substr(first + 1, second - first - 1);
      uint64_t field = 0, index = 0;
      bool present = false;
      if (!ParseId(entry.substr(0, first), &field) || !ParseId(index_text, &index) ||
          !ReadValue(entry.substr(second + 1), &present)) {
        return Bad(column, entry, "field:index:value (two unsigned integers and a finite number)",
                   error);
      }
      const auto found = columns_.numbered.find(field);
      if (found == columns_.numbered.end() || !present) continue;
      const uint32_t begin = static_cast<uint32_t>(index_text.data() - entries.data());
      cells->ends.insert(cells->ends.end(), {static_cast<uint32_t>(found->second), begin,
                                             begin + static_cast<uint32_t>(index_text.size())});
      int32_t& slot_column = cells->column[static_cast<size_t>(found->second)];
      if (slot_column == 0) slot_column = column;
    }
    GatherFields(entries, cells);
    return true;
  }

  void GatherFields(absl::string_view entries, RowCells* cells) const {
    cells->rewritten.clear();
    cells->rewritten.reserve(entries.size() + 1);  // Never moves below.
    for (const auto& [field, slot] : columns_.numbered) {
      const size_t begin = cells->rewritten.size();
      for (size_t i = 0; i < cells->ends.size(); i += 3) {
        if (cells->ends[i] != static_cast<uint32_t>(slot)) continue;
        if (cells->rewritten.size() > begin) cells->rewritten.push_back(kListSeparator);
        cells->rewritten.append(entries.data() + cells->ends[i + 1],
                                cells->ends[i + 2] - cells->ends[i + 1]);
      }
      cells->text[static_cast<size_t>(slot)] =
          absl::string_view(cells->rewritten.data() + begin, cells->rewritten.size() - begin);
    }
  }

  SparseColumns columns_;
  bool with_fields_;
};

// "f12" -> 12 for prefix "f"; without leading zeros, so that a number has one name.
bool NumberedColumn(const std::string& column, absl::string_view prefix, uint64_t* number) {
  return absl::StartsWith(column, prefix) &&
         ParseId(absl::string_view(column).substr(prefix.size()), number) &&
         column == absl::StrCat(prefix, *number);
}

absl::StatusOr<std::unique_ptr<RowParser>> MakeSparseParser(
    const std::vector<std::string>& slot_columns, bool with_fields) {
  SparseColumns columns;
  columns.num_slots = static_cast<int>(slot_columns.size());
  for (int slot = 0; slot < columns.num_slots; ++slot) {
    const std::string& name = slot_columns[static_cast<size_t>(slot)];
    uint64_t number = 0;
    if (name.empty()) continue;
    if (name == "label") {
      columns.label = slot;
    } else if (!with_fields && name == "qid") {
      columns.query = slot;
    } else if (!with_fields && name == "features") {
      columns.features = slot;
    } else if (NumberedColumn(name, with_fields ? "field" : "f", &number)) {
      columns.numbered[number] = slot;
    } else {
      return absl::InvalidArgumentError(absl::StrCat(
          with_fields ? "libffm data has the columns label and field0, field1, ...; not '"
                      : "libsvm data has the columns label, qid, features and f0, f1, ...; not '",
          name, "'"));
    }
  }
  return std::make_unique<SparseParser>(std::move(columns), with_fields);
}

}  // namespace

bool IsListColumn(const std::string& column) {
  uint64_t number = 0;
  return column == "features" || NumberedColumn(column, "field", &number);
}

absl::StatusOr<std::unique_ptr<RowParser>> MakeLibsvmParser(
    const std::vector<std::string>& slot_columns) {
  return MakeSparseParser(slot_columns, /*with_fields=*/false);
}

absl::StatusOr<std::unique_ptr<RowParser>> MakeLibffmParser(
    const std::vector<std::string>& slot_columns) {
  return MakeSparseParser(slot_columns, /*with_fields=*/true);
}

}  // namespace pagoda

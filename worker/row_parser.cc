#include "worker/row_parser.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

// Shown of a cell in a message.
constexpr size_t kShownBytes = 40;

bool IsBlank(char c) {
  return c == ' ' || c == '\t';
}

absl::string_view Trim(absl::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

// Where a cell ends and what it says.
struct Cell {
  absl::string_view text;
  const char* end = nullptr;  // At the delimiter, or at the end of the line.
};

class DelimitedParser : public RowParser {
 public:
  DelimitedParser(const DelimitedOptions& options, int num_columns, std::vector<int> slot_columns)
      : options_(options), num_columns_(num_columns), slot_columns_(std::move(slot_columns)) {}

  bool Parse(absl::string_view line, RowCells* cells, RowError* error) const override {
    if (line.empty()) line = absl::string_view("", 0);  // memchr wants an address.
    cells->text.resize(slot_columns_.size());
    cells->column.resize(slot_columns_.size());
    if (options_.quotes && std::memchr(line.data(), '"', line.size()) != nullptr) {
      return ParseQuoted(line, cells, error);
    }
    const int found = FindEnds(line, &cells->ends);
    if (found != num_columns_) return WrongCount(found, error);
    for (size_t slot = 0; slot < slot_columns_.size(); ++slot) {
      const int column = slot_columns_[slot];
      if (column < 0) continue;
      const uint32_t begin = column == 0 ? 0 : cells->ends[static_cast<size_t>(column) - 1] + 1;
      const uint32_t end = cells->ends[static_cast<size_t>(column)];
      cells->text[slot] = Clean(line.substr(begin, end - begin));
      cells->column[slot] = column + 1;
    }
    return true;
  }

  // Reads the cell that begins at `p`, with or without quotes.
  bool ReadCell(const char* p, const char* end, Cell* cell, std::string* rewritten,
                RowError* error) const {
    const char* open = p;
    while (options_.trim && open < end && IsBlank(*open) && *open != options_.delimiter) ++open;
    if (open == end || *open != '"') {
      const void* found = std::memchr(p, options_.delimiter, static_cast<size_t>(end - p));
      cell->end = found != nullptr ? static_cast<const char*>(found) : end;
      cell->text = Clean(absl::string_view(p, static_cast<size_t>(cell->end - p)));
      return true;
    }
    const char* from = open + 1;
    const size_t begin = rewritten->size();
    for (;;) {
      const void* found = std::memchr(from, '"', static_cast<size_t>(end - from));
      if (found == nullptr) {
        error->message =
            "the quote that opens this cell is not closed on its line (a row must be one line)";
        return false;
      }
      const char* const quote = static_cast<const char*>(found);
      rewritten->append(from, quote);
      from = quote + 1;
      if (from == end || *from != '"') break;
      rewritten->push_back('"');
      ++from;
    }
    while (options_.trim && from < end && IsBlank(*from) && *from != options_.delimiter) ++from;
    if (from != end && *from != options_.delimiter) {
      error->message =
          absl::StrCat("text follows the closing quote: ",
                       Quoted(absl::string_view(from, static_cast<size_t>(end - from))));
      return false;
    }
    cell->end = from;
    cell->text = Present(absl::string_view(*rewritten).substr(begin));
    return true;
  }

 private:
  // Writes where each cell ends, up to num_columns_ of them; returns how many cells
  // there are.
  int FindEnds(absl::string_view line, std::vector<uint32_t>* ends) const {
    ends->resize(static_cast<size_t>(num_columns_));
    int count = 0;
    const auto add = [&](size_t position) {
      if (count < num_columns_)
        (*ends)[static_cast<size_t>(count)] = static_cast<uint32_t>(position);
      ++count;
    };
    const char* const text = line.data();
    size_t i = 0;
#if defined(__SSE2__)
    // Cells are a few bytes long: one comparison of 16 bytes finds several ends at
    // once, where a search per cell would cost a call each.
    const __m128i delimiter = _mm_set1_epi8(options_.delimiter);
    for (; i + 16 <= line.size(); i += 16) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text + i));
      unsigned mask = static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, delimiter)));
      for (; mask != 0; mask &= mask - 1) add(i + static_cast<size_t>(std::countr_zero(mask)));
    }
#endif
    for (; i < line.size(); ++i) {
      if (text[i] == options_.delimiter) add(i);
    }
    add(line.size());
    return count;
  }

  bool ParseQuoted(absl::string_view line, RowCells* cells, RowError* error) const {
    // Unquoted texts are never longer than the line, so this never moves while
    // cells point into it.
    cells->rewritten.clear();
    cells->rewritten.reserve(line.size());
    std::vector<absl::string_view> all;
    const char* p = line.data();
    const char* const end = p + line.size();
    for (;;) {
      Cell cell;
      error->column = static_cast<int64_t>(all.size()) + 1;
      if (!ReadCell(p, end, &cell, &cells->rewritten, error)) return false;
      all.push_back(cell.text);
      if (cell.end == end) break;
      p = cell.end + 1;
    }
    const int found = static_cast<int>(all.size());
    if (found != num_columns_) return WrongCount(found, error);
    for (size_t slot = 0; slot < slot_columns_.size(); ++slot) {
      const int column = slot_columns_[slot];
      if (column < 0) continue;
      cells->text[slot] = all[static_cast<size_t>(column)];
      cells->column[slot] = column + 1;
    }
    return true;
  }

  absl::string_view Clean(absl::string_view text) const {
    return Present(options_.trim ? Trim(text) : text);
  }

  absl::string_view Present(absl::string_view text) const {
    if (!options_.missing.empty() && text == options_.missing) return absl::string_view();
    return text;
  }

  bool WrongCount(int found, RowError* error) const {
    error->column = found;
    error->message = absl::StrCat("the row has ", found, found == 1 ? " column" : " columns", "; ",
                                  num_columns_, num_columns_ == 1 ? " is" : " are", " expected");
    return false;
  }

  DelimitedOptions options_;
  int num_columns_;
  std::vector<int> slot_columns_;
};

}  // namespace

std::unique_ptr<RowParser> MakeDelimitedParser(const DelimitedOptions& options, int num_columns,
                                               std::vector<int> slot_columns) {
  for (const int column : slot_columns) PAGODA_CHECK(column < num_columns);
  return std::make_unique<DelimitedParser>(options, num_columns, std::move(slot_columns));
}

absl::StatusOr<std::vector<std::string>> SplitCells(absl::string_view line,
                                                    const DelimitedOptions& options) {
  const DelimitedParser parser(options, 0, {});
  std::vector<std::string> cells;
  std::string rewritten;
  RowError error;
  const char* p = line.data();
  const char* const end = p + line.size();
  for (;;) {
    Cell cell;
    if (options.quotes) {
      rewritten.clear();
      if (!parser.ReadCell(p, end, &cell, &rewritten, &error)) {
        return absl::InvalidArgumentError(absl::StrCat(cells.size() + 1, ": ", error.message));
      }
    } else {
      cell.end = std::find(p, end, options.delimiter);
      cell.text = absl::string_view(p, static_cast<size_t>(cell.end - p));
    }
    cells.emplace_back(cell.text);
    if (cell.end == end) return cells;
    p = cell.end + 1;
  }
}

std::string Quoted(absl::string_view text) {
  const bool cut = text.size() > kShownBytes;
  return absl::StrCat("'", absl::Utf8SafeCHexEscape(text.substr(0, kShownBytes)), cut ? "..." : "",
                      "'");
}

}  // namespace pagoda

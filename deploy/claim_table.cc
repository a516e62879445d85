#include "deploy/claim_table.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "algorithms/nn/model_options.h"
#include "base/status_macros.h"
#include "worker/durable_file.h"
#include "worker/line_source.h"
#include "worker/number_text.h"
#include "worker/row_parser.h"

namespace pagoda {
namespace {

constexpr absl::string_view kEvaluation = "evaluation at step ";

}  // namespace

absl::StatusOr<ClaimTable> ClaimTable::Read(const std::string& path,
                                            const std::vector<std::string>& columns) {
  ClaimTable table;
  table.path_ = path;
  LineSource source({path}, LineOptions{});
  Line line;
  PAGODA_ASSIGN_OR_RETURN(const bool has_header, source.Next(&line));
  if (!has_header) return absl::InvalidArgumentError(absl::StrCat(path, ": no header"));
  PAGODA_ASSIGN_OR_RETURN(table.header_, SplitCells(line.text, DelimitedOptions{}));
  std::vector<int> slots;
  std::vector<std::vector<std::string>*> cells;
  for (const std::string& column : columns) {
    const auto at = std::find(table.header_.begin(), table.header_.end(), column);
    if (at == table.header_.end() || table.Has(column)) continue;
    slots.push_back(static_cast<int>(at - table.header_.begin()));
    cells.push_back(&table.cells_[column]);
  }
  const std::unique_ptr<RowParser> parser =
      MakeDelimitedParser(DelimitedOptions{}, static_cast<int>(table.header_.size()), slots);
  RowCells row;
  RowError error;
  while (true) {
    PAGODA_ASSIGN_OR_RETURN(const bool more, source.Next(&line));
    if (!more) return table;
    if (line.too_long || !parser->Parse(line.text, &row, &error)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":", line.line, ": ",
                       line.too_long ? std::string("the line is too long") : error.message));
    }
    for (size_t slot = 0; slot < slots.size(); ++slot) cells[slot]->emplace_back(row.text[slot]);
    ++table.rows_;
  }
}

absl::StatusOr<const std::vector<std::string>*> ClaimTable::Texts(const std::string& column) const {
  const auto found = cells_.find(column);
  if (found != cells_.end()) return &found->second;
  const std::string nearest = NearestName(column, header_);
  return absl::NotFoundError(
      absl::StrCat(path_, " has no column \"", column, "\"",
                   nearest.empty() ? "" : absl::StrCat("; did you mean \"", nearest, "\"?")));
}

absl::StatusOr<std::vector<double>> ClaimTable::Numbers(const std::string& column) const {
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string>* texts, Texts(column));
  std::vector<double> numbers;
  numbers.reserve(texts->size());
  for (const std::string& text : *texts) {
    double number = 0;
    if (ParseNumber(text, &number) != NumberError::kNone) {
      return absl::InvalidArgumentError(absl::StrCat(path_, ", row ", numbers.size() + 1,
                                                     ", column \"", column, "\": ", Quoted(text),
                                                     " is not a number"));
    }
    numbers.push_back(number);
  }
  return numbers;
}

absl::StatusOr<std::vector<CurvePoint>> ReadTrainingCurve(const std::string& log_path,
                                                          const std::string& name) {
  PAGODA_ASSIGN_OR_RETURN(const std::string log, ReadWholeFile(log_path));
  std::vector<CurvePoint> curve;
  for (absl::string_view line : absl::StrSplit(log, '\n')) {
    if (!absl::ConsumePrefix(&line, kEvaluation)) continue;
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(": ", 1));
    CurvePoint point;
    if (!absl::SimpleAtoi(parts.first, &point.step)) continue;
    for (absl::string_view field : absl::StrSplit(parts.second, "  ")) {
      if (absl::ConsumePrefix(&field, name) && absl::ConsumePrefix(&field, " ") &&
          absl::SimpleAtod(field, &point.value)) {
        curve.push_back(point);
        break;
      }
    }
  }
  return curve;
}

}  // namespace pagoda

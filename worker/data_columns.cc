#include "worker/data_columns.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "algorithms/nn/model_options.h"
#include "base/status_macros.h"
#include "worker/criteo_format.h"
#include "worker/libsvm_format.h"

namespace pagoda {
namespace {

bool IsDelimited(const DataOptions& data) {
  return data.format == "csv" || data.format == "tsv";
}

// The format reads a header line from each file.
bool HasHeader(const DataOptions& data) {
  return IsDelimited(data) && data.header;
}

absl::StatusOr<DelimitedOptions> DelimitedOptionsOf(const DataOptions& data) {
  DelimitedOptions options;
  options.delimiter = data.format == "csv" ? ',' : '\t';
  options.quotes = data.format != "criteo";
  options.trim = data.trim;
  options.missing = data.missing;
  if (!data.delimiter.empty()) {
    if (!IsDelimited(data)) {
      return absl::InvalidArgumentError(
          absl::StrCat("delimiter is for csv and tsv; ", data.format, " has its own"));
    }
    const char c = data.delimiter[0];
    if (data.delimiter.size() != 1 || c == '"' || c == '\n' || c == '\r' || c == '\0') {
      return absl::InvalidArgumentError(
          absl::StrCat("delimiter must be one byte that is not a quote or a line end, not ",
                       Quoted(data.delimiter)));
    }
    options.delimiter = c;
  }
  return options;
}

absl::Status CheckNames(const std::string& where, const std::vector<std::string>& names) {
  std::set<std::string> seen;
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty()) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": column ", i + 1, " has no name"));
    }
    if (!seen.insert(names[i]).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": column '", names[i], "' appears twice"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ReadHeader(const DataOptions& data,
                                                    const std::string& file) {
  PAGODA_ASSIGN_OR_RETURN(DelimitedOptions delimited, DelimitedOptionsOf(data));
  delimited.trim = true;  // Blanks around a name are never meant.
  delimited.missing.clear();
  PAGODA_ASSIGN_OR_RETURN(const std::string line, FirstLine(file, LineOptionsOf(data)));
  if (line.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        file, ": the file has no header (nothing is left after ", data.skip_lines, " lines)"));
  }
  absl::StatusOr<std::vector<std::string>> names = SplitCells(line, delimited);
  if (!names.ok()) return WithContext(names.status(), absl::StrCat(file, ":header"));
  return names;
}

absl::Status CompareHeaders(const std::string& first_file, const std::vector<std::string>& first,
                            const std::string& file, const std::vector<std::string>& names) {
  const size_t size = std::min(first.size(), names.size());
  for (size_t i = 0; i < size; ++i) {
    if (first[i] == names[i]) continue;
    return absl::InvalidArgumentError(absl::StrCat(file, ": column ", i + 1, " of the header is ",
                                                   Quoted(names[i]), ", but ", Quoted(first[i]),
                                                   " in ", first_file));
  }
  if (first.size() == names.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      file, ": the header has ", names.size(), " columns, but ", first.size(), " in ", first_file));
}

// Reads the beginning of every file, so that a missing, empty or damaged one is
// reported before training begins.
absl::StatusOr<std::vector<std::string>> ReadDelimitedNames(const DataOptions& data,
                                                            const std::vector<std::string>& files) {
  std::vector<std::string> names;
  for (const std::string& file : files) {
    if (!data.header) {
      PAGODA_RETURN_IF_ERROR(FirstLine(file, LineOptionsOf(data)).status());
      continue;
    }
    PAGODA_ASSIGN_OR_RETURN(std::vector<std::string> header, ReadHeader(data, file));
    if (names.empty()) {
      names = std::move(header);
      PAGODA_RETURN_IF_ERROR(CheckNames(file, names));
    } else {
      PAGODA_RETURN_IF_ERROR(CompareHeaders(files[0], names, file, header));
    }
  }
  if (data.columns.empty()) {
    if (data.header) return names;
    return absl::InvalidArgumentError(absl::StrCat(
        files[0], ": header = false needs the names of the columns (columns = [...])"));
  }
  if (data.header && names.size() != data.columns.size()) {
    return absl::InvalidArgumentError(absl::StrCat(files[0], ": the header has ", names.size(),
                                                   " columns, but columns = [...] names ",
                                                   data.columns.size()));
  }
  PAGODA_RETURN_IF_ERROR(CheckNames("columns", data.columns));
  return data.columns;
}

// The challenge's test file has no label; its rows have one column less.
absl::StatusOr<std::vector<std::string>> ReadCriteoNames(const DataOptions& data,
                                                         const std::vector<std::string>& files,
                                                         bool needs_labels) {
  bool with_label = true;
  for (const std::string& file : files) {
    PAGODA_ASSIGN_OR_RETURN(const std::string line, FirstLine(file, LineOptionsOf(data)));
    const auto tabs = std::count(line.begin(), line.end(), '\t');
    if (!needs_labels && tabs == kCriteoIntegers + kCriteoCategories - 1) with_label = false;
  }
  std::vector<std::string> names = CriteoColumns(with_label);
  if (data.columns.empty()) return names;
  if (data.columns.size() != names.size()) {
    return absl::InvalidArgumentError(absl::StrCat("columns = [...] names ", data.columns.size(),
                                                   " columns, but this criteo data has ",
                                                   names.size()));
  }
  PAGODA_RETURN_IF_ERROR(CheckNames("columns", data.columns));
  return data.columns;
}

// The distinct columns that the schema reads, and which of them may be absent.
struct Wanted {
  std::vector<std::string> columns;  // By slot.
  std::vector<bool> required;
  std::vector<std::string> user;  // "feature 'age'", for messages.

  int Add(const std::string& column, bool is_required, const std::string& used_by) {
    const auto found = std::find(columns.begin(), columns.end(), column);
    const size_t slot = static_cast<size_t>(found - columns.begin());
    if (found == columns.end()) {
      columns.push_back(column);
      required.push_back(is_required);
      user.push_back(used_by);
    } else if (is_required && !required[slot]) {
      required[slot] = true;
      user[slot] = used_by;
    }
    return static_cast<int>(slot);
  }
};

Wanted WantedColumns(const FeatureSchema& schema, const ColumnRequirements& requirements,
                     ColumnSlots* slots) {
  Wanted wanted;
  const bool features = !requirements.absent_columns_empty;
  for (const FeatureSpec& spec : schema.features) {
    slots->feature.push_back(spec.join.empty()
                                 ? wanted.Add(spec.column_name(), features && !spec.optional,
                                              absl::StrCat("feature '", spec.name, "'"))
                                 : -1);
  }
  for (const JoinSpec& join : schema.joins) {
    slots->join.push_back(
        wanted.Add(join.column_name(), features, absl::StrCat("join '", join.name, "'")));
  }
  const bool labels = requirements.needs_labels;
  for (const std::string& target : schema.targets) {
    slots->target.push_back(wanted.Add(target, labels, "a target"));
  }
  for (const std::string& slice : schema.slices) {
    slots->slice.push_back(wanted.Add(slice, labels, "a slice of the metrics"));
  }
  if (!schema.label.empty()) slots->label = wanted.Add(schema.label, labels, "the label");
  if (!schema.weight.empty()) slots->weight = wanted.Add(schema.weight, labels, "the weight");
  if (!schema.group.empty()) slots->group = wanted.Add(schema.group, labels, "the group");
  return wanted;
}

// The label of sparse formats is always there, and a column is never known to be
// absent, so nothing needs to be looked up in the files.
absl::StatusOr<std::unique_ptr<RowParser>> MakeSparse(const DataOptions& data,
                                                      const std::vector<std::string>& files,
                                                      const Wanted& wanted) {
  for (const std::string& file : files) {
    PAGODA_RETURN_IF_ERROR(FirstLine(file, LineOptionsOf(data)).status());
  }
  if (!data.columns.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("columns = [...] is for csv, tsv and criteo; ",
                                                   data.format, " names its columns itself"));
  }
  return data.format == "libsvm" ? MakeLibsvmParser(wanted.columns)
                                 : MakeLibffmParser(wanted.columns);
}

// Turns slots whose column is absent into -1.
void DropAbsent(const std::vector<int>& slot_columns, ColumnSlots* slots) {
  const auto drop = [&](int& slot) {
    if (slot >= 0 && slot_columns[static_cast<size_t>(slot)] < 0) slot = -1;
  };
  for (int& slot : slots->feature) drop(slot);
  for (int& slot : slots->join) drop(slot);
  for (int& slot : slots->target) drop(slot);
  for (int& slot : slots->slice) drop(slot);
  drop(slots->label);
  drop(slots->weight);
  drop(slots->group);
}

}  // namespace

LineOptions LineOptionsOf(const DataOptions& data) {
  LineOptions options;
  options.skip_lines = data.skip_lines;
  options.header = HasHeader(data);
  options.spaces_are_blank = data.trim || !IsDelimited(data);
  return options;
}

absl::StatusOr<std::vector<std::string>> ReadColumnNames(const DataOptions& data,
                                                         const std::vector<std::string>& files,
                                                         bool needs_labels) {
  if (data.format == "criteo") return ReadCriteoNames(data, files, needs_labels);
  return ReadDelimitedNames(data, files);
}

absl::StatusOr<DataColumns> BindColumns(const DataOptions& data,
                                        const std::vector<std::string>& files,
                                        const FeatureSchema& schema,
                                        const ColumnRequirements& requirements) {
  const std::vector<std::string> kFormats = {"csv", "tsv", "criteo", "libsvm", "libffm"};
  if (std::find(kFormats.begin(), kFormats.end(), data.format) == kFormats.end()) {
    const std::string nearest = NearestName(data.format, kFormats);
    return absl::InvalidArgumentError(
        absl::StrCat("unknown data format '", data.format, "'",
                     nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?"), " (",
                     absl::StrJoin(kFormats, ", "), ")"));
  }
  DataColumns result;
  const Wanted wanted = WantedColumns(schema, requirements, &result.slots);
  PAGODA_ASSIGN_OR_RETURN(const DelimitedOptions delimited, DelimitedOptionsOf(data));
  if (data.format == "libsvm" || data.format == "libffm") {
    PAGODA_ASSIGN_OR_RETURN(result.parser, MakeSparse(data, files, wanted));
    return result;
  }
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          ReadColumnNames(data, files, requirements.needs_labels));
  std::vector<int> slot_columns;
  for (size_t slot = 0; slot < wanted.columns.size(); ++slot) {
    const auto found = std::find(names.begin(), names.end(), wanted.columns[slot]);
    if (found == names.end() && wanted.required[slot]) {
      const std::string nearest = NearestName(wanted.columns[slot], names);
      return absl::InvalidArgumentError(
          absl::StrCat(files[0], ": there is no column '", wanted.columns[slot], "', which ",
                       wanted.user[slot], " reads", nearest.empty() ? "" : "; did you mean '",
                       nearest, nearest.empty() ? "" : "'?"));
    }
    slot_columns.push_back(found == names.end() ? -1 : static_cast<int>(found - names.begin()));
  }
  DropAbsent(slot_columns, &result.slots);
  result.parser =
      MakeDelimitedParser(delimited, static_cast<int>(names.size()), std::move(slot_columns));
  return result;
}

}  // namespace pagoda

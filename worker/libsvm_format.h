// The sparse text formats of libsvm and libffm, blanks between the entries.
//
//   libsvm:  label [qid:q] index:value index:value ...
//   libffm:  label field:index:value field:index:value ...
//
// "#" begins a comment. Values tell presence: an entry whose value is 0 is as if it
// were not there, and the value of a list's entry is otherwise not used (a pooled
// lookup has no weight per id). Columns:
//   label      the first entry
//   qid        libsvm: the query, for grouping; empty when absent
//   features   libsvm: the list of the indices with a value other than 0
//   f12        libsvm: the value at index 12; empty when absent (a numeric feature
//              then reads as its missing_value, 0 unless set, as libsvm means it)
//   field3     libffm: the list of the indices of field 3
// A list reads as text with kListSeparator between the indices, so a feature on it is
// multi-valued (kId: the indices are the ids; kCategorical: hashed).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/row_parser.h"

namespace pagoda {

inline constexpr char kListSeparator = ' ';

// True when `column` is a list: "features", or "field3".
bool IsListColumn(const std::string& column);

// Slot s takes the column slot_columns[s]; an empty name is a slot that stays empty.
//   INVALID_ARGUMENT  a column that the format does not have (says which it has)
absl::StatusOr<std::unique_ptr<RowParser>> MakeLibsvmParser(
    const std::vector<std::string>& slot_columns);
absl::StatusOr<std::unique_ptr<RowParser>> MakeLibffmParser(
    const std::vector<std::string>& slot_columns);

}  // namespace pagoda

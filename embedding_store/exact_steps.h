// The steps that exact tables (row_catch_up.h) have taken, as a flush writes them: for
// each exact table its index u32, then RowCatchUp::AppendRates. docs/formats.md.
//
// Every shard of a job takes every step of an exact table, also with none of its ids, so
// cuts of one moment agree about them, and a shard made from several has the same.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "embedding_store/table_options.h"

namespace pagoda {

struct TableSteps {
  uint32_t table = 0;
  absl::string_view rates;  // As RowCatchUp::Load reads them.
};

void AppendTableSteps(const TableSteps& steps, std::string* bytes);
// By table; views into `bytes`. Of the rates only their number is looked at.
//   DATA_LOSS  the bytes end early
absl::StatusOr<std::vector<TableSteps>> SplitTableSteps(absl::string_view bytes);

// What one cut knows.
struct StepsOfCut {
  std::string directory;             // For errors.
  std::vector<TableOptions> tables;  // By the cut's index.
  std::string bytes;
};
// The steps of `tables` out of cuts that were made at the same step; "" without exact
// tables. A cut in which no exact table of a name is listed says nothing about it.
//   FAILED_PRECONDITION  two cuts disagree about a table (names it and them)
//   DATA_LOSS            steps of a table that is not listed or not exact, or cut short
absl::StatusOr<std::string> MergeTableSteps(std::span<const StepsOfCut> cuts,
                                            const std::vector<TableOptions>& tables);

}  // namespace pagoda

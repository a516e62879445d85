// Holds the cuts of an async job against the pushes that its servers acknowledged:
//   cut_oracle JOB_OUTPUT WORKERS JOURNAL...
// JOURNAL...: what each server's recording_server wrote. Replays every journal in
// memory, row by row, and compares the state at the moment a cut was asked for with
// each cut that JOB_OUTPUT lists: the same rows, weights, slots and last steps, to the
// last bit. The state must also be drained: the last push of every worker is that of
// the cut's step. Prints the number of cuts compared.
#include <cstdio>
#include <cstring>
#include <map>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "deploy/stored_rows.h"
#include "embedding_store/sparse_optimizer.h"
#include "tests/faults/push_journal.h"
#include "worker/job_cut.h"

namespace pagoda {
namespace {

struct OracleRow {
  std::vector<float> values;  // Weights, then slots.
  Step last_step = 0;
};

// What one server holds, or what all of them do.
struct OracleState {
  std::map<std::pair<std::string, FeatureId>, OracleRow> rows;
  // Of each worker's pushes: those in flight together are applied in any order.
  std::map<uint32_t, std::set<Step>> steps;
};

using Tables = std::map<std::string, TableOptions>;

void Apply(const JournalRecord& push, const Tables& tables, OracleState* state) {
  state->steps[push.rank].insert(push.step);
  for (const JournalTable& table : push.tables) {
    const TableOptions& options = tables.at(table.name);
    const RowUpdateSettings settings =
        MakeRowUpdateSettings(options.optimizer, LearningRateAt(options.optimizer, push.step),
                              push.learning_rate_factor, push.step);
    const int64_t width = options.dim + SlotDim(options.optimizer.kind, options.dim);
    for (size_t i = 0; i < table.ids.size(); ++i) {
      OracleRow& row = state->rows[{table.name, table.ids[i]}];
      if (row.values.empty()) {
        row.values.resize(static_cast<size_t>(width));
        FillInitialRow(options, InitialValueKey(options), table.ids[i], row.values.data());
      }
      float* const values = row.values.data();
      const float* const gradient = table.gradients.data() + static_cast<int64_t>(i) * options.dim;
      UpdateRows(options.optimizer.kind, settings, options.dim, {&values, 1}, {&gradient, 1});
      row.last_step = push.step;
    }
  }
}

// The state at each of the cuts in `wanted`, added to `at_cut`.
absl::Status Replay(const std::string& journal, const Tables& tables,
                    const std::set<std::string>& wanted,
                    std::map<std::string, OracleState>* at_cut) {
  OracleState state;
  std::map<std::string, OracleState> mine;  // Of every cut so far: any may be rewound to.
  absl::Status status;
  PAGODA_RETURN_IF_ERROR(PushJournal::Read(journal, [&](const JournalRecord& record) {
    switch (record.kind) {
      case JournalRecord::Kind::kPush: return Apply(record, tables, &state);
      case JournalRecord::Kind::kCut: mine[record.cut] = state; return;
      case JournalRecord::Kind::kRewind: {
        const auto found = mine.find(record.cut);
        if (found == mine.end()) {
          status = absl::DataLossError(absl::StrCat(journal, ": rewound to '", record.cut,
                                                    "', which it was never asked to cut"));
        } else {
          state = found->second;
        }
      }
    }
  }));
  PAGODA_RETURN_IF_ERROR(status);
  for (const std::string& cut : wanted) {
    const auto found = mine.find(cut);
    if (found == mine.end()) {
      return absl::DataLossError(absl::StrCat(journal, ": no server was asked for '", cut, "'"));
    }
    OracleState& whole = (*at_cut)[cut];
    whole.rows.insert(found->second.rows.begin(), found->second.rows.end());
    for (const auto& [rank, steps] : found->second.steps) {
      whole.steps[rank].insert(steps.begin(), steps.end());
    }
  }
  return absl::OkStatus();
}

absl::Status CompareRow(const std::string& table, const StoredRow& row,
                        const OracleState& expected) {
  const std::string name = absl::StrCat("table '", table, "', id ", row.id);
  const auto found = expected.rows.find({table, row.id});
  if (found == expected.rows.end()) {
    return absl::DataLossError(name + ": was never pushed to");
  }
  std::vector<float> values = row.weights;
  values.insert(values.end(), row.slots.begin(), row.slots.end());
  const std::vector<float>& wanted = found->second.values;
  if (values.size() != wanted.size() ||
      std::memcmp(values.data(), wanted.data(), wanted.size() * sizeof(float)) != 0) {
    return absl::DataLossError(name + ": weights or slots differ");
  }
  if (row.last_step != found->second.last_step) {
    return absl::DataLossError(
        absl::StrCat(name, ": last step ", row.last_step, ", not ", found->second.last_step));
  }
  return absl::OkStatus();
}

// Whether the worker had pushed every step up to the cut's, and none after it.
absl::Status CheckDrained(int64_t cut_step, uint32_t rank, const OracleState& expected) {
  const auto found = expected.steps.find(rank);
  const std::set<Step> none;
  const std::set<Step>& steps = found == expected.steps.end() ? none : found->second;
  Step next = 1;
  for (const Step step : steps) {
    if (step != next) break;
    ++next;
  }
  if (next == cut_step + 1 && static_cast<int64_t>(steps.size()) == cut_step) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat("not drained: the cut is of step ", cut_step, ", worker ",
                                          rank, " had pushed ", steps.size(),
                                          " steps, the first that is missing is ", next,
                                          ", the last is ", steps.empty() ? 0 : *steps.rbegin()));
}

absl::Status CompareCut(const ListedCut& cut, uint32_t num_workers, const OracleState& expected) {
  for (uint32_t rank = 0; rank < num_workers; ++rank) {
    PAGODA_RETURN_IF_ERROR(CheckDrained(cut.manifest.step(), rank, expected));
  }
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<StoredRows> rows, StoredRows::Open(cut.directory));
  absl::Status status;
  size_t num_rows = 0;
  PAGODA_RETURN_IF_ERROR(rows->Scan([&](const std::string& table, const StoredRow& row) {
    ++num_rows;
    if (status.ok()) status = CompareRow(table, row, expected);
  }));
  PAGODA_RETURN_IF_ERROR(status);
  if (num_rows == expected.rows.size()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(num_rows, " rows, not the ", expected.rows.size(), " that were pushed to"));
}

absl::StatusOr<std::vector<ListedCut>> CompleteCuts(const std::string& output) {
  PAGODA_ASSIGN_OR_RETURN(const std::vector<ListedCut> listed, ListJobCuts(output));
  std::vector<ListedCut> complete;
  for (const ListedCut& cut : listed) {
    if (absl::IsNotFound(cut.status)) continue;  // Garbage without a manifest.
    PAGODA_RETURN_IF_ERROR_CONTEXT(cut.status, cut.directory);
    complete.push_back(cut);
  }
  if (complete.empty()) return absl::NotFoundError(absl::StrCat(output, " lists no cut"));
  return complete;
}

absl::Status Run(const std::string& output, uint32_t num_workers,
                 const std::vector<std::string>& journals) {
  PAGODA_ASSIGN_OR_RETURN(const std::vector<ListedCut> cuts, CompleteCuts(output));
  Tables tables;
  std::set<std::string> wanted;
  for (const ListedCut& cut : cuts) {
    wanted.insert(cut.name);
    PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<StoredRows> rows,
                            StoredRows::Open(cut.directory));
    PAGODA_ASSIGN_OR_RETURN(const auto summaries, rows->Tables());
    for (const auto& [name, summary] : summaries) {
      if (summary.options.precision != RowPrecision::kF32 || summary.options.optimizer.exact) {
        return absl::UnimplementedError(
            absl::StrCat("table '", name, "': the oracle knows f32 rows that are not exact only"));
      }
      tables[name] = summary.options;
    }
  }
  std::map<std::string, OracleState> at_cut;
  for (const std::string& journal : journals) {
    PAGODA_RETURN_IF_ERROR(Replay(journal, tables, wanted, &at_cut));
  }
  size_t num_rows = 0;
  for (const ListedCut& cut : cuts) {
    const OracleState& expected = at_cut[cut.name];
    PAGODA_RETURN_IF_ERROR_CONTEXT(CompareCut(cut, num_workers, expected), cut.directory);
    num_rows += expected.rows.size();
  }
  std::printf("%zu cuts equal the drained state, %zu rows\n", cuts.size(), num_rows);
  return absl::OkStatus();
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  uint32_t num_workers = 0;
  if (argc < 4 || !absl::SimpleAtoi(argv[2], &num_workers)) return 2;
  const absl::Status status =
      pagoda::Run(argv[1], num_workers, std::vector<std::string>(argv + 3, argv + argc));
  if (!status.ok()) std::fprintf(stderr, "cut_oracle: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

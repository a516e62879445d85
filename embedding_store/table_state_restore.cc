#include "embedding_store/table_state_restore.h"

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "embedding_store/count_min_sketch.h"
#include "embedding_store/cut_rows.h"
#include "embedding_store/table_registry.h"
#include "embedding_store/table_state.h"

namespace pagoda {
namespace {

struct Source {
  std::string directory;
  std::unique_ptr<RocksTier> tier;
  std::vector<uint32_t> indices;  // Of the new shard, by the cut's own.
};

absl::StatusOr<Source> OpenSource(FileSystem* fs, const std::string& directory,
                                  std::vector<TableOptions> tables) {
  Source source;
  source.directory = directory;
  PAGODA_ASSIGN_OR_RETURN(const std::vector<TableOptions> mine,
                          ReadTableRegistry(fs, directory + "/REGISTRY"));
  PAGODA_ASSIGN_OR_RETURN(source.indices, MergeTables(mine, &tables));
  RocksTierOptions options;
  options.directory = directory + "/rocksdb";
  options.read_only = true;
  PAGODA_ASSIGN_OR_RETURN(source.tier, RocksTier::Open(options));
  return source;
}

// One table's state on its way from the sources to the new shard.
class MovedState {
 public:
  MovedState(const TableOptions& options, uint32_t begin, uint32_t end) : begin_(begin), end_(end) {
    if (options.admission.kind != AdmissionKind::kFrequency) return;
    merged_ = std::make_unique<CountMinSketch>(SketchWidthOf(options.admission));
  }

  absl::Status Add(const Source& source, uint32_t table) {
    std::unique_ptr<CountMinSketch> counts;
    PAGODA_RETURN_IF_ERROR_CONTEXT(
        source.tier->ScanStates(table, table + 1,
                                [&](uint32_t, uint32_t part, absl::string_view bytes) {
                                  if (part == kCountersPart) return AddCounters(bytes);
                                  return AddPage(part - kFirstSketchPart, bytes, &counts);
                                }),
        source.directory);
    if (counts != nullptr) merged_->Merge(*counts, begin_, end_);
    return absl::OkStatus();
  }

  absl::Status Write(uint32_t table, bool with_counts, RocksTier::RunWriter* run) {
    if (!with_counts) counters_.refused = counters_.evicted = 0;
    if (any_) {
      PAGODA_RETURN_IF_ERROR(run->AddState(table, kCountersPart, EncodeTableCounters(counters_)));
    }
    // All that a source had: those of other buckets are zeros now.
    for (const uint32_t page : pages_) {
      PAGODA_RETURN_IF_ERROR(
          run->AddState(table, kFirstSketchPart + page, merged_->EncodePage(page)));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status AddCounters(absl::string_view bytes) {
    TableCounters counters;
    PAGODA_RETURN_IF_ERROR(DecodeTableCounters(bytes, &counters));
    counters_.newest_step = std::max(counters_.newest_step, counters.newest_step);
    counters_.refused += counters.refused;
    counters_.evicted += counters.evicted;
    any_ = true;
    return absl::OkStatus();
  }

  absl::Status AddPage(uint32_t page, absl::string_view bytes,
                       std::unique_ptr<CountMinSketch>* counts) {
    if (merged_ == nullptr) {
      return absl::DataLossError("there are admission counters of a table without admission");
    }
    if (*counts == nullptr) *counts = std::make_unique<CountMinSketch>(merged_->width());
    pages_.insert(page);
    return (*counts)->DecodePage(page, bytes);
  }

  const uint32_t begin_, end_;  // Buckets.
  std::unique_ptr<CountMinSketch> merged_;
  std::set<uint32_t> pages_;
  TableCounters counters_;
  bool any_ = false;
};

}  // namespace

absl::Status MoveTableStates(FileSystem* file_system, const ShardSources& sources,
                             const std::vector<TableOptions>& tables, uint32_t begin, uint32_t end,
                             RocksTier::RunWriter* run) {
  std::vector<Source> opened;
  for (const std::string& directory : sources.cuts) {
    PAGODA_ASSIGN_OR_RETURN(Source source, OpenSource(file_system, directory, tables));
    opened.push_back(std::move(source));
  }
  for (uint32_t t = 0; t < tables.size(); ++t) {
    MovedState state(tables[t], begin, end);
    for (const Source& source : opened) {
      for (uint32_t own = 0; own < source.indices.size(); ++own) {
        if (source.indices[own] == t) PAGODA_RETURN_IF_ERROR(state.Add(source, own));
      }
    }
    PAGODA_RETURN_IF_ERROR(state.Write(t, sources.shard == 0, run));
  }
  return absl::OkStatus();
}

}  // namespace pagoda

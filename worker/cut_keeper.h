// Makes a job's cuts together with the servers, drops old ones, and rewinds to one.
//
// A cut is two-phase (DESIGN ruling 4): every worker has stopped at a step boundary
// with its pushes acknowledged; the servers prepare theirs; worker 0 writes the
// job's files and, last, the manifest. Old cuts go after the new one is complete.
//
// Make and Restore are collective: all workers call them together.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/allreduce.h"
#include "worker/job_cut.h"
#include "worker/parameter_client.h"

namespace pagoda {

// Of the dense values and slots, to compare workers.
uint64_t DenseHash(const JobCut& cut);

class CutKeeper {
 public:
  struct Options {
    std::string output_dir;
    uint64_t epoch = 1;     // Of this run; part of the cuts' names.
    int64_t cuts_kept = 2;  // The newest so many, and the best one, stay.
  };
  // `client` and `allreduce` must outlive the keeper.
  CutKeeper(const Options& options, ParameterClient* client, AllReduce* allreduce)
      : options_(options), client_(client), allreduce_(allreduce) {}

  // On worker 0: drops what a crash left behind, directories without a manifest and
  // the servers' cuts of those names.
  absl::Status DropGarbage();

  // The name that a cut after `step` gets.
  std::string NameFor(Step step) const { return CutName(step, options_.epoch); }

  // Makes the cut `cut.manifest.cut()`, a NameFor name, and returns its directory. The
  // servers' part of the manifest is filled in here. Then drops old cuts, but never
  // `best_cut` (a name, or empty).
  //   INTERNAL   the workers' dense parameters differ
  //   ABORTED    worker 0 could not make it (its own error says why); no cut then
  //   the client's and the file system's errors
  absl::StatusOr<std::string> Make(JobCut cut, const std::string& best_cut);

  // Rewinds the servers' rows to a cut's; only worker 0's `cut` counts. When another
  // number of servers made it, each server reads its rows from all their directories.
  //   the client's errors; ABORTED  worker 0 could not (its own error says why)
  absl::Status Restore(const proto::JobCut& cut, const std::string& keep_newer);

 private:
  absl::StatusOr<std::string> MakeOnFirstWorker(JobCut cut);
  absl::Status DropOld(const std::string& newest, const std::string& best_cut);
  absl::Status Drop(const std::string& directory);

  const Options options_;
  ParameterClient* const client_;
  AllReduce* const allreduce_;
};

}  // namespace pagoda

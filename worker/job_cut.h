// A job's cut on disk: everything but the rows, which the servers hold in cuts of
// their own, named here with checksums.
//
//   <output>/cuts/<name>/dense.bin   f32 values [num_elements], then optimizer slots
//                                    [num_trainable] each, little-endian
//   <output>/cuts/<name>/job.toml    the job file as it was, so that a cut explains itself
//   <output>/cuts/<name>/manifest    "PGJOBCUT" | version u32 | length u32 |
//                                    proto JobCut | XXH3-64 of all before
//
// Invariants:
//  1. A cut exists when its manifest does. The manifest is written last (to a
//     temporary name, synced, renamed), after the servers' cuts and the other files
//     are durable; it is removed first. So a crash at any moment leaves every listed
//     cut complete, and garbage without a manifest that the next start removes.
//  2. Names are never used twice: they hold the step and, after a rewind, the epoch.
//
// Threads: one thread at a time per output directory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/job_cut.pb.h"

namespace pagoda {

struct JobCut {
  proto::JobCut manifest;
  std::vector<float> values;              // [num_elements]
  std::vector<std::vector<float>> slots;  // num_slots x [num_trainable]
  std::string job_text;                   // May be empty (no job.toml is written then).
};

// "step-000000200"; from epoch 2 on "step-000000200.epoch2".
std::string CutName(int64_t step, uint64_t epoch);

// <output_dir>/cuts/<name>
std::string CutDirectory(const std::string& output_dir, const std::string& name);

// Called before each step of a write with its name; an error stops the write there,
// as a crash would. Tests only.
using CutWriteProbe = std::function<absl::Status(absl::string_view)>;

// Makes the cut's (empty) directory durable. Call before the servers prepare theirs,
// so that a crash in between leaves a trace by which they can be found and dropped.
//   ALREADY_EXISTS  the directory is there
absl::StatusOr<std::string> BeginJobCut(const std::string& output_dir, const std::string& name);

// Writes the files of a begun cut; the sizes and checksums in the manifest are set
// here. When it returns OK the cut is durable.
//   the file system's errors, naming the path; the cut does not exist then
absl::Status WriteJobCut(const std::string& directory, JobCut cut,
                         const CutWriteProbe& probe = nullptr);

//   NOT_FOUND   no manifest there: not a complete cut
//   DATA_LOSS   a checksum does not match (names the file)
//   FAILED_PRECONDITION  written by another format version
absl::StatusOr<proto::JobCut> ReadCutManifest(const std::string& directory);

// The manifest and the other files, all checksums checked. Errors: as above.
absl::StatusOr<JobCut> ReadJobCut(const std::string& directory);

struct ListedCut {
  std::string directory;
  std::string name;
  absl::Status status;     // OK: complete, `manifest` is set. Else what ReadCutManifest says.
  proto::JobCut manifest;  // Read and checked (the manifest file only).
};

// Every directory under <output_dir>/cuts, oldest first (by epoch, then step),
// incomplete ones before complete ones. An output directory without cuts gives none.
absl::StatusOr<std::vector<ListedCut>> ListJobCuts(const std::string& output_dir);

//   NOT_FOUND  no complete cut
absl::StatusOr<ListedCut> NewestJobCut(const std::string& output_dir);

// Removes the manifest, then calls `drop_rows(name)` (the servers' part), then removes
// the directory. Works on incomplete cuts too.
absl::Status DropJobCut(const std::string& directory,
                        const std::function<absl::Status(const std::string&)>& drop_rows);

// Raises and returns the job epoch kept in <output_dir>/epoch: one more than both the
// file's and `at_least`. No two starts of a job get the same epoch, so servers can
// tell a stale worker from a live one.
absl::StatusOr<uint64_t> ClaimEpoch(const std::string& output_dir, uint64_t at_least);

}  // namespace pagoda

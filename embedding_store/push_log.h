// The log of pushes: an acknowledged push is in it before any row changes, so that
// killing the process loses nothing. Why pushes and not row images, and why not
// RocksDB's own log: docs/decisions/0001-push-log.md.
//
// PushLog is the seam: what carries acknowledged pushes. Here: files. Replication
// and live bucket moves are to tail the same records.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "embedding_store/file_system.h"
#include "embedding_store/push_record.h"

namespace pagoda {

// Threads: any method, any thread; calls run one at a time inside.
class PushLog {
 public:
  virtual ~PushLog() = default;

  // When it returns OK the record survives the death of the process, not yet that of
  // the machine. Sequences
  // must rise by one. After an error the record is not in the log.
  //   RESOURCE_EXHAUSTED  no disk space; a later call may succeed
  //   UNAVAILABLE         the file broke and could not be cut back to its last good
  //                       record: every later call fails too, until reopened
  virtual absl::Status Append(const PushRecord& record) = 0;

  // When it returns OK every record appended up to `sequence` survives the death of
  // the machine. Appends go on meanwhile; callers that wait at the same time share one
  // sync. Without FilePushLogOptions::sync_records it does nothing.
  //   UNAVAILABLE  the sync failed: what the disk holds is not known, and every later
  //                call of Append and Sync fails, too, until reopened
  virtual absl::Status Sync(uint64_t sequence) = 0;

  // Later records go to a new segment, so that DropThrough can remove this one.
  virtual void Seal() = 0;

  // Removes sealed segments all of whose records are <= `sequence`.
  //   REQUIRES: the rows on disk hold every push up to `sequence`, synced.
  virtual absl::Status DropThrough(uint64_t sequence) = 0;

  virtual int64_t bytes() const = 0;           // On disk, all segments.
  virtual uint64_t last_sequence() const = 0;  // 0: holds no record.
};

struct FilePushLogOptions {
  FileSystem* file_system = nullptr;
  std::string directory;                      // Must exist.
  int64_t segment_bytes = int64_t{64} << 20;  // A longer segment is sealed.
  uint64_t flushed_sequence = 0;              // Rows on disk hold every push up to here.
  uint64_t highest_sequence = 0;              // No row on disk is newer; >= flushed_sequence.
  bool read_only = false;                     // A torn tail is ignored, not cut.
  bool sync_records = false;                  // Sync does what it says.
  std::string marks_path;                     // log_marks.h; empty: none are kept.
};

using ReplayPush = std::function<absl::Status(const PushRecord&)>;

// Reads the segments in order, calls `replay` for every record above
// flushed_sequence, and returns the log, ready to append. Segments that the rows on
// disk cover are not read. A record the kill left half-written at the end is cut off,
// with a line in the log output, unless the marks say that it was on the disk. With
// sync_records all that was read survives the machine from here on.
//   DATA_LOSS            a checksum is wrong, or a record or segment is missing
//                        (names file and byte offset); or the log was dropped up to
//                        a push that the rows on disk do not hold
//   FAILED_PRECONDITION  written by another format version
//   any error of `replay`
absl::StatusOr<std::unique_ptr<PushLog>> OpenFilePushLog(const FilePushLogOptions& options,
                                                         const ReplayPush& replay);

}  // namespace pagoda

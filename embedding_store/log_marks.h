// What is known about the push log from outside its records, so that damage which
// looks like the end of the log is told from the end of the log:
//
//   - how much of its newest segment is known to be on the disk (durability = machine):
//     a bad record below that is damage, not a write that the machine's death cut off;
//   - up to which push the log was dropped because the rows on disk hold it: rows that
//     end earlier have lost a flush.
//
// A mark is appended after what it says has become true, so it may be old but is never
// ahead. It is evidence only: marks that cannot be written or read are done without,
// and the log is then judged by its records alone.
//
// The file is a row of entries of 40 bytes, the last good one counts: docs/formats.md.
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "embedding_store/file_system.h"

namespace pagoda {

struct LogMarks {
  uint64_t dropped_through = 0;   // The rows on disk hold every push up to here.
  uint64_t segment = 0;           // First sequence of the segment meant below; 0: none.
  uint64_t durable_bytes = 0;     // Of that segment.
  uint64_t durable_sequence = 0;  // Of the last record in these bytes.
};

class LogMarksFile {
 public:
  // An empty path keeps no marks. `read_only`: nothing is written.
  LogMarksFile(FileSystem* file_system, std::string path, bool read_only);

  const LogMarks& marks() const { return marks_; }  // The last read or written.

  // With `sync` they survive the machine.
  void Write(const LogMarks& marks, bool sync);

 private:
  void Read();

  FileSystem* const fs_;
  const std::string path_;
  bool writable_;
  LogMarks marks_;
  int64_t bytes_ = 0;
  std::unique_ptr<AppendFile> file_;  // Null until the first write.
};

}  // namespace pagoda

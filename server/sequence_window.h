// Which pushes of one worker have been applied: a high-water mark and a bitmap of
// the 1,024 sequence numbers up to it (DESIGN ruling 6), so that pushes may
// overtake one another and a retry is still known for what it is.
//
// Threads: none of its own; the owner locks.
#pragma once

#include <bitset>
#include <cstdint>

namespace pagoda {

class SequenceWindow {
 public:
  // Bounds the pushes a worker may have in flight; a retry that comes later than
  // this many newer pushes can no longer be told from a new one.
  static constexpr uint64_t kWidth = 1024;

  enum class State {
    kNew,        // Never applied.
    kApplied,    // Applied already: answer as the first time.
    kForgotten,  // Too old to say.
  };

  State Find(uint64_t sequence) const;

  // Marks `sequence` as applied. REQUIRES: Find(sequence) is kNew.
  void Record(uint64_t sequence);

  uint64_t highest() const { return highest_; }

 private:
  uint64_t highest_ = 0;
  std::bitset<kWidth> applied_;  // Bit i: highest_ - i.
};

}  // namespace pagoda

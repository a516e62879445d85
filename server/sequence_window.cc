#include "server/sequence_window.h"

#include "base/status_macros.h"

namespace pagoda {

SequenceWindow::State SequenceWindow::Find(uint64_t sequence) const {
  if (sequence > highest_) return State::kNew;
  const uint64_t age = highest_ - sequence;
  if (age >= kWidth) return State::kForgotten;
  return applied_.test(age) ? State::kApplied : State::kNew;
}

void SequenceWindow::Record(uint64_t sequence) {
  PAGODA_CHECK(Find(sequence) == State::kNew);
  if (sequence > highest_) {
    const uint64_t advance = sequence - highest_;
    if (advance >= kWidth) {
      applied_.reset();
    } else {
      applied_ <<= advance;
    }
    highest_ = sequence;
  }
  applied_.set(highest_ - sequence);
}

}  // namespace pagoda

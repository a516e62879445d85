// What ThreadSanitizer must know of CUDA threads to find a kernel's data races; nothing
// at all in other builds. Found by trial (no false reports, no planted race missed):
//
//   a sanitizer fiber for each (parity of the block, thread of the block), switched to
//     without synchronisation whenever another CUDA thread runs;
//   the host releases one object at a launch, which threads acquire as they begin, and
//     acquires another after it, which threads release as they end;
//   where threads meet, each releases an object of its own on arrival; the one that
//     completes the meeting acquires all of them and releases a fresh one, which each
//     acquires on leaving. (One object for all would hide write-after-read races.)
//
// Blind spots: blocks of one parity share identities; a meeting that a returning lane
// completes takes on that lane's order.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/gpu_emulation/scheduler.h"

#if defined(PAGODA_EMULATION_TSAN)
extern "C" {
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#endif

namespace gpu::emulation {

#if defined(PAGODA_EMULATION_TSAN)

inline constexpr bool kCheckRaces = true;

class RaceChecker {
 public:
  // While one lives, what is done counts as the host's.
  class AsHost {
   public:
    explicit AsHost(RaceChecker& races) : before_(__tsan_get_current_fiber()) {
      if (races.host_ != nullptr) __tsan_switch_to_fiber(races.host_, kWithoutOrder);
    }
    ~AsHost() { __tsan_switch_to_fiber(before_, kWithoutOrder); }
    AsHost(const AsHost&) = delete;
    AsHost& operator=(const AsHost&) = delete;

   private:
    void* const before_;
  };

  void BeginGrid() {
    host_ = __tsan_get_current_fiber();
    __tsan_release(&launched_);
  }
  void EndGrid() { __tsan_acquire(&ended_); }
  void BeginBlock(unsigned threads) {
    parity_ = 1 - parity_;
    while (identities_[parity_].size() < threads) {
      identities_[parity_].push_back(__tsan_create_fiber(0));
    }
  }
  // Stacks by thread of the block; they too alternate.
  std::vector<Fiber*>& stacks() { return stacks_[parity_]; }
  void DropStacks() {
    stacks_[0].clear();
    stacks_[1].clear();
  }

  // Ends threads that will not return, as the host.
  void EndAll() {
    for (const std::vector<void*>& identities : identities_) {
      for (void* const identity : identities) {
        __tsan_switch_to_fiber(identity, kWithoutOrder);
        ThreadEnds();
      }
    }
    SwitchToHost();
  }

  void SwitchTo(unsigned thread) {
    __tsan_switch_to_fiber(identities_[parity_][thread], kWithoutOrder);
  }
  void SwitchToHost() { __tsan_switch_to_fiber(host_, kWithoutOrder); }
  void ThreadBegins() { __tsan_acquire(&launched_); }
  void ThreadEnds() { __tsan_release(&ended_); }

  void Arrive(unsigned thread) { __tsan_release(ArrivalOf(thread)); }
  // for_each(visit) calls visit(CudaThread*) for each member.
  template <typename ForEach>
  void Meet(const ForEach& for_each) {
    uint64_t* const together = &meetings_[next_meeting_++ % kMeetings];
    for_each([&](CudaThread* member) {
      __tsan_acquire(ArrivalOf(member->index));
      member->joined = together;
    });
    __tsan_release(together);
  }
  void Leave(void* joined) { __tsan_acquire(joined); }

 private:
  static constexpr unsigned kWithoutOrder = 1;
  static constexpr unsigned kMeetings = 8192;

  void* ArrivalOf(unsigned thread) { return &arrivals_[parity_ * kBlockThreadsMax + thread]; }

  void* host_ = nullptr;
  unsigned parity_ = 0;
  std::vector<void*> identities_[2];
  std::vector<Fiber*> stacks_[2];
  uint64_t launched_ = 0, ended_ = 0;
  uint64_t arrivals_[2 * kBlockThreadsMax] = {};
  uint64_t meetings_[kMeetings] = {};
  unsigned next_meeting_ = 0;
};

#else

inline constexpr bool kCheckRaces = false;

class RaceChecker {
 public:
  class AsHost {
   public:
    explicit AsHost(RaceChecker&) {}
  };
  void BeginGrid() {}
  void EndGrid() {}
  void BeginBlock(unsigned) {}
  std::vector<Fiber*>& stacks() { return stacks_; }
  void DropStacks() {}
  void EndAll() {}
  void SwitchTo(unsigned) {}
  void SwitchToHost() {}
  void ThreadBegins() {}
  void ThreadEnds() {}
  void Arrive(unsigned) {}
  template <typename ForEach>
  void Meet(const ForEach&) {}
  void Leave(void*) {}

 private:
  std::vector<Fiber*> stacks_;
};

#endif

}  // namespace gpu::emulation

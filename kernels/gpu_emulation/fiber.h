// Stacks that take turns on one host thread.
#pragma once

#include <cstddef>
#include <memory>

namespace gpu::emulation {

struct Fiber {
  void* stack_pointer = nullptr;  // While another fiber runs.
  char* stack = nullptr;
  size_t stack_bytes = 0;
  bool owns_stack = false;      // False: the host thread's.
  void* fake_stack = nullptr;   // AddressSanitizer's.
  void* begins_with = nullptr;  // The scheduler's.

  Fiber() = default;
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
};

// A fiber that calls entry() when it is first switched to. `entry` must not return. The
// stack has a page before it that faults.
std::unique_ptr<Fiber> NewFiber(void (*entry)());

// Runs `to` until something switches back. REQUIRES: `from` is the one that runs.
void SwitchFiber(Fiber* from, Fiber* to);
// Tells AddressSanitizer that a new fiber has begun; first thing in its entry. `from` is
// the fiber that switched to it.
void BeginFiber(Fiber* from);

}  // namespace gpu::emulation

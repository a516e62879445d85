// Asking the processor for cache lines before they are needed.
//
// GCC takes a function that does nothing but prefetch for one without effect, and drops
// the calls of it unless it was inlined in time: __builtin_prefetch in a function of its
// own may be gone without a word. The empty asm is an effect, and costs no instruction.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace pagoda {

// The line that holds `address`, which need not be valid.
[[gnu::always_inline]] inline void PrefetchLine(const void* address) {
  __builtin_prefetch(address);
  asm volatile("");
}

// The lines of [from, from + bytes), the first kilobyte at most: the processor sees where
// it goes on.
[[gnu::always_inline]] inline void PrefetchLines(const void* from, size_t bytes) {
  constexpr uintptr_t kLineBytes = 64;
  constexpr size_t kBytesMax = 1024;
  const auto begin = reinterpret_cast<uintptr_t>(from);
  const uintptr_t end = begin + std::min(bytes, kBytesMax);
  for (uintptr_t line = begin & ~(kLineBytes - 1); line < end; line += kLineBytes) {
    PrefetchLine(reinterpret_cast<const void*>(line));
  }
}

}  // namespace pagoda

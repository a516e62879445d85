// A block's shared memory, for scheduler.cc alone.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "kernels/gpu_emulation/race_checker.h"
#include "kernels/gpu_emulation/scheduler.h"

namespace gpu::emulation {

inline void Poison([[maybe_unused]] char* begin, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(begin, bytes);
#endif
}
inline void Unpoison([[maybe_unused]] char* begin, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(begin, bytes);
#endif
}

// The shared memory of one block: variables one after another, red zones in between.
class SharedMemory {
 public:
  SharedMemory() {
    void* const mapped = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) std::abort();
    base_ = static_cast<char*>(mapped);
  }
  ~SharedMemory() {
    Unpoison(base_, kBytes);
    munmap(base_, kBytes);
  }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void BeginBlock(size_t dynamic_bytes) {
    Unpoison(base_, used_);
    if (kCheckRaces) {
      // A fresh mapping has no history of accesses.
      void* const mapped = mmap(base_, kBytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
      if (mapped == MAP_FAILED) std::abort();
    }
    variables_.clear();
    used_ = 0;
    static_bytes_ = 0;
    dynamic_ = dynamic_bytes == 0 ? nullptr : Add(dynamic_bytes, 16);
  }

  char* dynamic() const { return dynamic_; }
  size_t static_bytes() const { return static_bytes_; }

  char* Static(const void* key, size_t bytes, size_t alignment) {
    for (const Variable& variable : variables_) {
      if (variable.key == key) return variable.begin;
    }
    static_bytes_ += bytes;
    if (static_bytes_ > kStaticSharedMax) return nullptr;
    variables_.push_back({key, Add(bytes, alignment)});
    return variables_.back().begin;
  }

 private:
  struct Variable {
    const void* key;
    char* begin;
  };
  static constexpr size_t kBytes = size_t{1} << 20;
  static constexpr size_t kRedZone = 64;

  // Aligned to `alignment` and not to twice that.
  char* Add(size_t bytes, size_t alignment) {
    const size_t step = 2 * std::max<size_t>(alignment, 8);
    const size_t begin = (used_ + kRedZone + step - 1) / step * step + step / 2;
    const size_t end = begin + bytes;
    if (end + kRedZone > kBytes) std::abort();
    std::memset(base_ + begin, 0xff, bytes);
    Poison(base_ + used_, begin - used_);
    used_ = end + kRedZone;
    Poison(base_ + end, kRedZone);
    return base_ + begin;
  }

  char* base_ = nullptr;
  size_t used_ = 0;
  size_t static_bytes_ = 0;
  char* dynamic_ = nullptr;
  std::vector<Variable> variables_;
};

}  // namespace gpu::emulation

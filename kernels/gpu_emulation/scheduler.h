// Runs a grid of CUDA threads on one host thread: each is a fiber, and gives way where
// CUDA threads wait for each other. Which runnable thread comes next, and in which order
// blocks run, is the schedule, a setting of tests.
//
// A kernel that breaks a rule (a deadlock, a barrier that not all reach, a warp operation
// whose mask leaves out its caller, too much shared memory) ends its grid with an error
// that says which threads wait where.
//
// Under ThreadSanitizer (PAGODA_EMULATION_TSAN; this code itself is not instrumented)
// each CUDA thread is a fiber of the sanitizer too, and only __syncthreads and __syncwarp
// order memory, so that it reports the data races of a kernel.
//
// Threads: any number of host threads may each run grids; settings are shared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace gpu::emulation {

enum class Schedule { kForward, kReverse, kRandom };

struct Settings {
  Schedule schedule = Schedule::kForward;
  uint64_t seed = 1;  // Of kRandom.
  // Work of a stream runs only where something waits for it, so that a missing
  // synchronisation shows as stale data.
  bool lazy_streams = false;
};
// At first what PAGODA_GPU_EMULATION says: words of "reverse", "random:SEED" and "lazy",
// with commas between.
Settings& settings();

struct Counts {
  uint64_t launches = 0, blocks = 0, switches = 0, barriers = 0, warp_operations = 0;
};
Counts& counts();  // Of this host thread.

// Where in a kernel.
struct Place {
  const char* file = nullptr;
  int line = 0;
};

enum class WarpOp : uint8_t { kSync, kShuffle, kShuffleUp, kShuffleDown, kShuffleXor, kBallot };

struct WarpCall {
  WarpOp op = WarpOp::kSync;
  uint32_t mask = 0;
  int argument = 0;
  int width = 32;
  size_t bytes = 0;
};

struct Fiber;

// One CUDA thread of the block that runs.
struct CudaThread {
  enum class State : uint8_t { kNew, kReady, kAtBarrier, kInWarpOperation, kReturned };
  uint3 thread_index, block_index;
  dim3 block_dim, grid_dim;
  unsigned index = 0;  // In the block.
  State state = State::kNew;
  Fiber* fiber = nullptr;
  WarpCall call;  // While in a warp operation.
  uint64_t in = 0, out = 0;
  Place place;
  void* joined = nullptr;  // ThreadSanitizer's object of the last meeting.
  unsigned lane() const { return index % 32; }
  unsigned warp() const { return index / 32; }
};
// The CUDA thread that runs on this host thread; null outside of kernels.
extern __thread CudaThread* current;

// For language.h, from within a kernel.
int SyncThreads(int predicate, Place place);  // How many predicates were not 0.
uint64_t WarpOperation(const WarpCall& call, uint64_t in, Place place);
void MaybeYield();  // kRandom: sometimes lets another thread go first.
void* StaticShared(const void* key, size_t bytes, size_t alignment);
void* DynamicShared(size_t alignment);

inline constexpr size_t kStaticSharedMax = size_t{48} << 10;
inline constexpr size_t kDynamicSharedMax = size_t{227} << 10;  // Of sm_90.
inline constexpr unsigned kBlockThreadsMax = 1024;

// Runs body() once for each thread of the grid. Returns "" or what went wrong.
std::string RunGrid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body);

}  // namespace gpu::emulation

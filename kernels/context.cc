#include "kernels/context.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/gpu_device.h"

namespace pagoda {
namespace {

constexpr int64_t kAlignment = 64;  // A cache line, and the widest vector.

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kExactBlocks = true;  // Own heap blocks: red zones and use-after-free reports.
#else
constexpr bool kExactBlocks = false;
#endif

#if defined(__SANITIZE_ADDRESS__) || !defined(NDEBUG)
constexpr bool kFillWithNan = true;  // Reading what nobody wrote then shows up in the results.
#else
constexpr bool kFillWithNan = false;
#endif

// Rounds up to a size class: four per power of two, so that at most a quarter
// of a block is wasted and tensors whose sizes vary a little share blocks.
int64_t SizeClass(int64_t size_bytes) {
  if (size_bytes <= 4 * kAlignment) {
    return std::max<int64_t>(kAlignment, (size_bytes + kAlignment - 1) / kAlignment * kAlignment);
  }
  const int64_t step = int64_t{1} << (std::bit_width(static_cast<uint64_t>(size_bytes - 1)) - 3);
  return (size_bytes + step - 1) / step * step;
}

// Blocks of host memory, kept for reuse when freed: a large block that went
// back to the system would page-fault again at each training step. Blocks in use and
// free never hold more than twice the bytes that were once in use together: the sizes
// in use differ between the passes of a step, so one time that is too little to keep
// them all. Sizes that differ from step to step, as of ragged batches, take a block of up to twice
// their bytes, and what is in nobody's way any more goes first. Threads: any.
class BlockCache {
 public:
  ~BlockCache() {
    for (auto& [size, kept] : free_) {
      for (void* block : kept.blocks) Release(block, size);
    }
  }

  struct Block {
    void* bytes = nullptr;
    int64_t size = 0;
  };

  // A block of SizeClass `size` bytes or more, or null when the system has none.
  Block Take(int64_t size) {
    std::lock_guard<std::mutex> lock(mutex_);
    Block block{nullptr, size};
    auto found = free_.lower_bound(size);
    while (found != free_.end() && found->first <= 2 * size && found->second.blocks.empty()) {
      ++found;
    }
    if (found != free_.end() && found->first <= 2 * size) {
      block = {found->second.blocks.back(), found->first};
      found->second.blocks.pop_back();
      found->second.used_at = ++clock_;
      free_bytes_ -= block.size;
    } else {
      block.bytes = Obtain(size);
      if (block.bytes == nullptr) return {};
    }
    used_bytes_ += block.size;
    peak_bytes_ = std::max(peak_bytes_, used_bytes_);
    return block;
  }

  void Give(const Block& block) {
    std::lock_guard<std::mutex> lock(mutex_);
    used_bytes_ -= block.size;
    if (kExactBlocks) {
      Release(block.bytes, block.size);
      return;
    }
    Free& kept = free_[block.size];
    kept.blocks.push_back(block.bytes);
    kept.used_at = ++clock_;
    free_bytes_ += block.size;
    while (used_bytes_ + free_bytes_ > 2 * peak_bytes_) ReleaseOldest();
  }

  int64_t used_bytes() {
    std::lock_guard<std::mutex> lock(mutex_);
    return used_bytes_;
  }

 private:
  // From here on a block is mapped by itself, on huge pages where the system has them.
  static constexpr int64_t kMapBytes = int64_t{4} << 20;

  static void* Obtain(int64_t size) {
    if (kExactBlocks || size < kMapBytes) {
      return ::operator new (static_cast<size_t>(size), std::align_val_t{kAlignment}, std::nothrow);
    }
    void* block = mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return nullptr;
    madvise(block, static_cast<size_t>(size), MADV_HUGEPAGE);
    return block;
  }

  static void Release(void* block, int64_t size) {
    if (kExactBlocks || size < kMapBytes) {
      ::operator delete (block, std::align_val_t{kAlignment});
    } else {
      munmap(block, static_cast<size_t>(size));
    }
  }

  struct Free {
    std::vector<void*> blocks;
    int64_t used_at = 0;
  };

  // A free block of the size that was taken and given last the longest ago.
  //   REQUIRES: there is a free block.
  void ReleaseOldest() {
    auto oldest = free_.end();
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      if (it->second.blocks.empty()) continue;
      if (oldest == free_.end() || it->second.used_at < oldest->second.used_at) oldest = it;
    }
    Release(oldest->second.blocks.back(), oldest->first);
    oldest->second.blocks.pop_back();
    free_bytes_ -= oldest->first;
  }

  std::mutex mutex_;
  std::map<int64_t, Free> free_;
  int64_t clock_ = 0;
  int64_t free_bytes_ = 0;
  int64_t used_bytes_ = 0;
  int64_t peak_bytes_ = 0;
};

struct CpuBuffer : Buffer {
  ~CpuBuffer() override {
    if (bytes != nullptr) cache->Give({bytes, block_bytes});
  }
  std::shared_ptr<BlockCache> cache;  // Outlives the context with its last tensor.
  int64_t block_bytes = 0;
};

class CpuAllocator : public Allocator {
 public:
  explicit CpuAllocator(Device device) : device_(device), cache_(std::make_shared<BlockCache>()) {}

  absl::StatusOr<std::shared_ptr<Buffer>> Allocate(int64_t size_bytes) override {
    PAGODA_CHECK(size_bytes >= 0);
    const int64_t block_bytes =
        kExactBlocks ? std::max<int64_t>(size_bytes, 1) : SizeClass(size_bytes);
    auto buffer = std::make_shared<CpuBuffer>();
    const BlockCache::Block block = cache_->Take(block_bytes);
    buffer->bytes = block.bytes;
    if (buffer->bytes == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat("out of memory: a tensor of ", size_bytes,
                                                       " bytes beside ", cache_->used_bytes(),
                                                       " bytes in use"));
    }
    if (kFillWithNan) std::memset(buffer->bytes, 0xff, static_cast<size_t>(size_bytes));
    buffer->block_bytes = block.size;
    buffer->size_bytes = size_bytes;
    buffer->device = device_;
    buffer->cache = cache_;
    return std::shared_ptr<Buffer>(std::move(buffer));
  }

 private:
  Device device_;
  std::shared_ptr<BlockCache> cache_;
};

// The fake device's memory: one reserved range of addresses that faults when
// touched, except between Open and Close (which nest). Threads: any, but a
// range opened by one thread is open to all.
class FakeArena {
 public:
  // Address space only: pages cost memory when first written.
  static constexpr int64_t kArenaBytes = int64_t{8} << 30;

  ~FakeArena() {
    if (base_ != nullptr) munmap(base_, kArenaBytes);
  }

  absl::Status Reserve() {
    void* base =
        mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
      return absl::ResourceExhaustedError(absl::StrCat("fake device: cannot reserve ", kArenaBytes,
                                                       " bytes of addresses: ", strerror(errno)));
    }
    base_ = static_cast<char*>(base);
    return absl::OkStatus();
  }

  // Filled with 0xff (NaN), so that a result made of what nobody wrote is seen.
  void* Take(int64_t size) {
    Open();
    std::lock_guard<std::mutex> lock(mutex_);
    void* block = nullptr;
    std::vector<void*>& blocks = free_[size];
    if (!blocks.empty()) {
      block = blocks.back();
      blocks.pop_back();
    } else if (top_ + size <= kArenaBytes) {
      block = base_ + top_;
      top_ += size;
    }
    if (block != nullptr) std::memset(block, 0xff, static_cast<size_t>(size));
    CloseLocked();
    return block;
  }

  void Give(void* block, int64_t size) {
    std::lock_guard<std::mutex> lock(mutex_);
    free_[size].push_back(block);
  }

  void Open() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (open_++ == 0) Protect(PROT_READ | PROT_WRITE);
  }

  void Close() {
    std::lock_guard<std::mutex> lock(mutex_);
    CloseLocked();
  }

  int64_t top() {
    std::lock_guard<std::mutex> lock(mutex_);
    return top_;
  }

 private:
  void CloseLocked() {
    PAGODA_CHECK(open_ > 0);
    if (--open_ == 0) Protect(PROT_NONE);
  }

  void Protect(int protection) { PAGODA_CHECK(mprotect(base_, kArenaBytes, protection) == 0); }

  std::mutex mutex_;
  char* base_ = nullptr;
  int64_t top_ = 0;
  int open_ = 0;
  std::map<int64_t, std::vector<void*>> free_;
};

struct FakeBuffer : Buffer {
  ~FakeBuffer() override {
    if (bytes != nullptr) arena->Give(bytes, block_bytes);
  }
  std::shared_ptr<FakeArena> arena;
  int64_t block_bytes = 0;
};

class FakeAllocator : public Allocator {
 public:
  FakeAllocator(Device device, std::shared_ptr<FakeArena> arena)
      : device_(device), arena_(std::move(arena)) {}

  absl::StatusOr<std::shared_ptr<Buffer>> Allocate(int64_t size_bytes) override {
    PAGODA_CHECK(size_bytes >= 0);
    const int64_t block_bytes = SizeClass(size_bytes);
    auto buffer = std::make_shared<FakeBuffer>();
    buffer->bytes = arena_->Take(block_bytes);
    if (buffer->bytes == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "fake device: a tensor of ", size_bytes, " bytes does not fit: ", arena_->top(), " of ",
          FakeArena::kArenaBytes, " bytes are in use"));
    }
    buffer->block_bytes = block_bytes;
    buffer->size_bytes = size_bytes;
    buffer->device = device_;
    buffer->arena = arena_;
    return std::shared_ptr<Buffer>(std::move(buffer));
  }

  void BeginAccess() override { arena_->Open(); }
  void EndAccess() override { arena_->Close(); }

 private:
  Device device_;
  std::shared_ptr<FakeArena> arena_;
};

void CopyOnHost(const RowsCopy& copy) {
  if (copy.rows * copy.row_bytes == 0) return;
  if (copy.from_pitch == copy.row_bytes && copy.to_pitch == copy.row_bytes) {
    std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.rows * copy.row_bytes));
    return;
  }
  for (int64_t i = 0; i < copy.rows; ++i) {
    std::memcpy(copy.to + i * copy.to_pitch, copy.from + i * copy.from_pitch,
                static_cast<size_t>(copy.row_bytes));
  }
}

// In pieces that are worth a thread's while.
void CopyOnPool(ThreadPool& pool, std::span<const RowsCopy> copies) {
  constexpr int64_t kPieceBytes = 65536;
  std::vector<RowsCopy> pieces;
  for (const RowsCopy& copy : copies) {
    if (copy.rows * copy.row_bytes == 0) continue;
    const int64_t step = std::max<int64_t>(kPieceBytes / copy.row_bytes, 1);
    for (int64_t begin = 0; begin < copy.rows; begin += step) {
      RowsCopy piece = copy;
      piece.from += begin * copy.from_pitch;
      piece.to += begin * copy.to_pitch;
      piece.rows = std::min(step, copy.rows - begin);
      pieces.push_back(piece);
    }
  }
  pool.ParallelFor(static_cast<int64_t>(pieces.size()),
                   [&](int64_t i) { CopyOnHost(pieces[static_cast<size_t>(i)]); });
}

// Bytes of a tensor, or INVALID_ARGUMENT for a shape that none can have.
absl::StatusOr<int64_t> ByteSize(const Shape& shape, DType dtype) {
  bool empty = false;
  for (int64_t size : shape) {
    if (size < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("a tensor of shape ", ShapeString(shape), " has a negative size"));
    }
    empty = empty || size == 0;
  }
  if (empty) return 0;
  int64_t bytes = SizeOf(dtype);
  for (int64_t size : shape) {
    // A factor of 4 is left for rounding up to a size class.
    if (__builtin_mul_overflow(bytes, size, &bytes) ||
        bytes > std::numeric_limits<int64_t>::max() / 4) {
      return absl::InvalidArgumentError(
          absl::StrCat("a tensor of shape ", ShapeString(shape), " has too many elements"));
    }
  }
  return bytes;
}

}  // namespace

RowsCopy WholeToDevice(const void* host, const Tensor& to) {
  RowsCopy copy;
  copy.from = static_cast<const char*>(host);
  copy.to = static_cast<char*>(to.raw());
  copy.row_bytes = copy.from_pitch = copy.to_pitch = to.size() * SizeOf(to.dtype());
  copy.rows = 1;
  copy.to_device = true;
  copy.tensor = to.memory();
  return copy;
}

RowsCopy WholeToHost(const Tensor& from, void* host) {
  RowsCopy copy;
  copy.from = static_cast<const char*>(from.raw());
  copy.to = static_cast<char*>(host);
  copy.row_bytes = copy.from_pitch = copy.to_pitch = from.size() * SizeOf(from.dtype());
  copy.rows = 1;
  copy.tensor = from.memory();
  return copy;
}

RowsCopy RowsToDevice(const float* host, int64_t host_stride, const Tensor& to) {
  PAGODA_CHECK(to.rank() == 2 && to.dtype() == DType::kF32 && host_stride >= to.dim(1));
  RowsCopy copy = WholeToDevice(host, to);
  copy.rows = to.dim(0);
  copy.row_bytes = copy.to_pitch = to.dim(1) * 4;
  copy.from_pitch = host_stride * 4;
  return copy;
}

RowsCopy RowsToHost(const Tensor& from, float* host, int64_t host_stride) {
  PAGODA_CHECK(from.rank() == 2 && from.dtype() == DType::kF32 && host_stride >= from.dim(1));
  RowsCopy copy = WholeToHost(from, host);
  copy.rows = from.dim(0);
  copy.row_bytes = copy.from_pitch = from.dim(1) * 4;
  copy.to_pitch = host_stride * 4;
  return copy;
}

absl::Status Allocator::CopyRows(const RowsCopy& copy) {
  BeginAccess();
  CopyOnHost(copy);
  EndAccess();
  return absl::OkStatus();
}

absl::Status Allocator::Zero(void* at, int64_t bytes) {
  BeginAccess();
  std::memset(at, 0, static_cast<size_t>(bytes));
  EndAccess();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Context>> Context::Create(Device device, ThreadPool* pool,
                                                         int64_t gpu_memory_bytes) {
  PAGODA_CHECK(pool != nullptr);
  switch (device.kind) {
    case DeviceKind::kCpu:
      return std::unique_ptr<Context>(
          new Context(device, pool, std::make_shared<CpuAllocator>(device)));
    case DeviceKind::kFake: {
      auto arena = std::make_shared<FakeArena>();
      PAGODA_RETURN_IF_ERROR(arena->Reserve());
      return std::unique_ptr<Context>(
          new Context(device, pool, std::make_shared<FakeAllocator>(device, std::move(arena))));
    }
    case DeviceKind::kEmulated:
    case DeviceKind::kCuda: break;
  }
  PAGODA_ASSIGN_OR_RETURN(std::shared_ptr<Allocator> gpu,
                          CreateGpuAllocator(device, {gpu_memory_bytes}));
  return std::unique_ptr<Context>(new Context(device, pool, std::move(gpu)));
}

absl::StatusOr<Tensor> Context::Empty(Shape shape, DType dtype) {
  PAGODA_ASSIGN_OR_RETURN(const int64_t bytes, ByteSize(shape, dtype));
  PAGODA_ASSIGN_OR_RETURN(std::shared_ptr<Buffer> buffer, allocator_->Allocate(bytes));
  return Tensor(std::move(buffer), std::move(shape), dtype);
}

absl::StatusOr<Tensor> Context::Zeros(Shape shape, DType dtype) {
  PAGODA_ASSIGN_OR_RETURN(Tensor tensor, Empty(std::move(shape), dtype));
  PAGODA_RETURN_IF_ERROR(allocator_->Zero(tensor.raw(), tensor.size() * SizeOf(dtype)));
  return tensor;
}

absl::Status Context::CopyFromHost(const void* host, int64_t size_bytes, const Tensor& to) {
  const int64_t bytes = to.size() * SizeOf(to.dtype());
  if (bytes != size_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("CopyFromHost: ", size_bytes,
                                                   " bytes for a tensor ", ShapeString(to.shape()),
                                                   " of ", bytes, " bytes"));
  }
  if (bytes == 0) return absl::OkStatus();
  PAGODA_RETURN_IF_ERROR(allocator_->CopyRows(WholeToDevice(host, to)));
  return allocator_->Synchronize();
}

absl::Status Context::CopyToHost(const Tensor& from, void* host, int64_t size_bytes) {
  const int64_t bytes = from.size() * SizeOf(from.dtype());
  if (bytes != size_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("CopyToHost: a tensor ",
                                                   ShapeString(from.shape()), " of ", bytes,
                                                   " bytes into ", size_bytes, " bytes"));
  }
  if (bytes == 0) return absl::OkStatus();
  PAGODA_RETURN_IF_ERROR(allocator_->CopyRows(WholeToHost(from, host)));
  return allocator_->Synchronize();
}

absl::Status Context::Copy(std::span<const RowsCopy> copies) {
  if (!on_gpu()) {
    KernelScope scope(*this);
    CopyOnPool(*pool_, copies);
    return absl::OkStatus();
  }
  for (const RowsCopy& copy : copies) PAGODA_RETURN_IF_ERROR(allocator_->CopyRows(copy));
  return allocator_->Synchronize();
}

}  // namespace pagoda

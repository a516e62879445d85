#include "kernels/gpu_emulation/device_memory.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace gpu::emulation {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kStep = 256;  // cudaMalloc's alignment.

// With at least one byte of red zone.
size_t WholeSize(size_t bytes) {
  return (bytes + kStep) / kStep * kStep;
}

void Poison([[maybe_unused]] const void* begin, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(begin, bytes);
#endif
}
void Unpoison([[maybe_unused]] const void* begin, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(begin, bytes);
#endif
}

// Whether [at, at + bytes) lies in one of the blocks.
bool Holds(const std::map<const char*, size_t>& blocks, const char* at, size_t bytes) {
  auto after = blocks.upper_bound(at);
  if (after == blocks.begin()) return false;
  --after;
  return at + bytes <= after->first + after->second;
}

}  // namespace

DeviceMemory& DeviceMemory::Get() {
  static auto* const memory = new DeviceMemory;  // Lives as long as the last kernel.
  return *memory;
}

DeviceMemory::DeviceMemory() {
  void* const mapped =
      mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) std::abort();
  base_ = static_cast<char*>(mapped);
}

void DeviceMemory::Protect(bool open) {
  if (committed_ == 0) return;
  if (mprotect(base_, committed_, open ? PROT_READ | PROT_WRITE : PROT_NONE) != 0) std::abort();
}

void DeviceMemory::Open() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (open_++ == 0) Protect(true);
}

void DeviceMemory::Close() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (--open_ == 0) Protect(false);
}

void* DeviceMemory::Allocate(size_t bytes) {
  const size_t whole = WholeSize(bytes);
  char* block = nullptr;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = free_.find(whole);
    if (found != free_.end()) {
      block = found->second;
      free_.erase(found);
    } else if (top_ + whole <= kReserved) {
      block = base_ + top_;
      top_ += whole;
      committed_ = (top_ + kPage - 1) / kPage * kPage;
      if (open_ > 0) Protect(true);
    } else {
      return nullptr;
    }
    live_[block] = bytes;
  }
  const Access access;
  Unpoison(block, whole);
  std::memset(block, 0xff, bytes);
  Poison(block + bytes, whole - bytes);
  return block;
}

bool DeviceMemory::Free(void* at) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = live_.find(static_cast<const char*>(at));
  if (found == live_.end()) return false;
  const size_t whole = WholeSize(found->second);
  Poison(at, whole);
  free_.emplace(whole, static_cast<char*>(at));
  live_.erase(found);
  if (live_.empty()) StartOver();
  return true;
}

void DeviceMemory::StartOver() {
  // Changing the protection of a page that is there costs as much as many threads of a kernel,
  // and every launch would change that of all pages that were ever needed.
  if (mprotect(base_, committed_, PROT_NONE) != 0) std::abort();
  if (madvise(base_, committed_, MADV_DONTNEED) != 0) std::abort();
  top_ = committed_ = 0;
  free_.clear();
}

void* DeviceMemory::AllocatePinned(size_t bytes) {
  void* at = nullptr;
  if (posix_memalign(&at, kPage, bytes == 0 ? 1 : bytes) != 0) return nullptr;
  std::lock_guard<std::mutex> lock(mutex_);
  pinned_[static_cast<const char*>(at)] = bytes;
  return at;
}

bool DeviceMemory::FreePinned(void* at) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (pinned_.erase(static_cast<const char*>(at)) == 0) return false;
  }
  std::free(at);
  return true;
}

DeviceMemory::Space DeviceMemory::SpaceOf(const void* at, size_t bytes) {
  if (!InRange(at)) return Space::kHost;
  const auto* const begin = static_cast<const char*>(at);
  std::lock_guard<std::mutex> lock(mutex_);
  return Holds(live_, begin, bytes) ? Space::kDevice : Space::kOutside;
}

bool DeviceMemory::IsPinned(const void* at) {
  std::lock_guard<std::mutex> lock(mutex_);
  return Holds(pinned_, static_cast<const char*>(at), 0);
}

namespace {

std::atomic<const char*> last_kernel{"none"};

void Say(const char* text) {
  (void)!::write(STDERR_FILENO, text, std::strlen(text));
}

// Only what a signal handler may do.
void OnSegmentationFault(int, siginfo_t* info, void*) {
  if (DeviceMemory::Get().InRange(info->si_addr)) {
    Say("emulated GPU: host code touched device memory; the last kernel launched: ");
    Say(last_kernel.load());
    Say("\n");
  }
  // Back at the instruction, it dies as it would have.
  ::signal(SIGSEGV, SIG_DFL);
}

}  // namespace

void NoteKernel(const char* name) {
  last_kernel.store(name);
}

void ReportHostAccess() {
  (void)DeviceMemory::Get();
  struct sigaction now = {};
  if (::sigaction(SIGSEGV, nullptr, &now) != 0) return;
  if ((now.sa_flags & SA_SIGINFO) != 0 || now.sa_handler != SIG_DFL) return;
  struct sigaction report = {};
  report.sa_sigaction = OnSegmentationFault;
  report.sa_flags = SA_SIGINFO;
  (void)::sigaction(SIGSEGV, &report, nullptr);
}

}  // namespace gpu::emulation

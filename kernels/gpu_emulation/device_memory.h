// The emulated device's memory and the pinned memory of the host; for runtime.cc.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>

namespace gpu::emulation {

class DeviceMemory {
 public:
  static DeviceMemory& Get();

  // Null when the range is full.
  void* Allocate(size_t bytes);
  bool Free(void* at);  // False: not a live allocation's beginning.
  void* AllocatePinned(size_t bytes);
  bool FreePinned(void* at);

  enum class Space { kHost, kDevice, kOutside };
  // Where [at, at + bytes) is; kOutside: in the device's range, but not in one allocation.
  Space SpaceOf(const void* at, size_t bytes);
  bool IsPinned(const void* at);
  bool InRange(const void* at) const { return at >= base_ && at < base_ + kReserved; }

  // While one lives, the memory can be read and written. They nest.
  class Access {
   public:
    Access() { Get().Open(); }
    ~Access() { Get().Close(); }
    Access(const Access&) = delete;
    Access& operator=(const Access&) = delete;
  };

 private:
  static constexpr size_t kReserved = size_t{16} << 30;  // Addresses, not memory.

  DeviceMemory();
  void Open();
  void Close();
  void Protect(bool open);
  void StartOver();  // REQUIRES: mutex_ held, and nothing is allocated.

  std::mutex mutex_;
  char* base_ = nullptr;
  size_t top_ = 0;        // Of what was handed out since all of it was free.
  size_t committed_ = 0;  // Pages up to here change their protection.
  int open_ = 0;
  std::map<const char*, size_t> live_;  // Bytes by beginning.
  std::multimap<size_t, char*> free_;   // By whole size.
  std::map<const char*, size_t> pinned_;
};

// From now on a SIGSEGV of host code in device memory says so, with the kernel noted last,
// before the process dies of it. Leaves another handler, say a sanitizer's, in place.
void ReportHostAccess();

}  // namespace gpu::emulation

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

  // While one lives, the memory can be read and written. They nest.
  class Access {
   public:
    Access() { Get().Open(); }
    ~Access() { Get().Close(); }
    Access(const Access&) = delete;
    Access& operator=(const Access&) = delete;
  };

 private:
  DeviceMemory();
  void Open();
  void Close();
  void Protect(bool open);

  std::mutex mutex_;
  char* base_ = nullptr;
  size_t top_ = 0;        // Of what was ever handed out.
  size_t committed_ = 0;  // Pages up to here change their protection.
  int open_ = 0;
  std::map<const char*, size_t> live_;  // Bytes by beginning.
  std::multimap<size_t, char*> free_;   // By whole size.
  std::map<const char*, size_t> pinned_;
};

}  // namespace gpu::emulation

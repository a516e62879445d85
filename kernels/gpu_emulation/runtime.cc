#include "kernels/gpu_emulation/runtime.h"

#include <cstdint>
#include <cstring>
#include <deque>
#include <mutex>
#include <set>
#include <vector>

#include "kernels/gpu_emulation/device_memory.h"

namespace gpu::emulation {

// Work in order. Entered by the host thread that uses the device's context.
struct Stream {
  std::deque<std::function<void()>> waiting;
  uint64_t queued = 0, done = 0;  // Numbers of work given and carried out.
};
struct Event {
  Stream* stream = nullptr;
  uint64_t number = 0;  // Work of the stream up to here.
};

namespace {

using Space = DeviceMemory::Space;

thread_local cudaError_t last_error = cudaSuccess;
thread_local std::string last_text;

cudaError_t Fail(cudaError_t error, std::string text) {
  last_error = error;
  last_text = std::move(text);
  return error;
}

class Streams {
 public:
  static Streams& Get() {
    static auto* const streams = new Streams;
    return *streams;
  }
  void Add(Stream* stream) {
    std::lock_guard<std::mutex> lock(mutex_);
    all_.insert(stream);
  }
  void Remove(Stream* stream) {
    std::lock_guard<std::mutex> lock(mutex_);
    all_.erase(stream);
  }
  std::vector<Stream*> all() {
    std::lock_guard<std::mutex> lock(mutex_);
    return {all_.begin(), all_.end()};
  }

 private:
  std::mutex mutex_;
  std::set<Stream*> all_;
};

// Work that waits for another stream's comes back here for it.
void RunThrough(Stream* stream, uint64_t number) {
  while (stream->done < number && !stream->waiting.empty()) {
    const std::function<void()> work = std::move(stream->waiting.front());
    stream->waiting.pop_front();
    work();
    ++stream->done;
  }
}

void RunAll() {
  for (Stream* stream : Streams::Get().all()) RunThrough(stream, stream->queued);
}

// As on a device, nothing more runs after a kernel failed.
bool Broken() {
  return last_error == cudaErrorLaunchFailure;
}

cudaError_t CheckCopy(const void* to, size_t to_bytes, const void* from, size_t from_bytes,
                      cudaMemcpyKind kind) {
  const Space to_space = DeviceMemory::Get().SpaceOf(to, to_bytes);
  const Space from_space = DeviceMemory::Get().SpaceOf(from, from_bytes);
  if (to_space == Space::kOutside || from_space == Space::kOutside) {
    return Fail(cudaErrorInvalidValue, "a copy that leaves its allocation");
  }
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (to_device != (to_space == Space::kDevice) || from_device != (from_space == Space::kDevice)) {
    return Fail(cudaErrorInvalidValue, "a copy whose kind does not match its pointers");
  }
  return cudaSuccess;
}

}  // namespace

std::string LastErrorText() {
  return last_text;
}

cudaError_t CheckLaunch(dim3 grid, dim3 block, size_t shared_bytes) {
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > kBlockThreadsMax || block.z > 64) {
    return Fail(cudaErrorInvalidConfiguration,
                "a block of " + std::to_string(threads) + " threads");
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 ||
      grid.z > 65535) {
    return Fail(cudaErrorInvalidConfiguration, "a grid of " + std::to_string(grid.x) + " x " +
                                                   std::to_string(grid.y) + " x " +
                                                   std::to_string(grid.z) + " blocks");
  }
  if (shared_bytes > kDynamicSharedMax) {
    return Fail(cudaErrorInvalidConfiguration,
                std::to_string(shared_bytes) + " bytes of dynamic shared memory");
  }
  return cudaSuccess;
}

bool CheckPointerArgument(const void* pointer, int index) {
  if (pointer == nullptr) return true;
  DeviceMemory& memory = DeviceMemory::Get();
  const Space space = memory.SpaceOf(pointer, 0);
  if (space == Space::kDevice || (space == Space::kHost && memory.IsPinned(pointer))) return true;
  Fail(cudaErrorInvalidValue,
       "argument " + std::to_string(index) + " of a kernel is not a device pointer");
  return false;
}

void Enqueue(Stream* stream, std::function<void()> work) {
  if (stream == nullptr) {  // The default stream waits for all others.
    RunAll();
    work();
    return;
  }
  ++stream->queued;
  stream->waiting.push_back(std::move(work));
  if (!settings().lazy_streams) RunThrough(stream, stream->queued);
}

void RunLaunch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body) {
  if (Broken()) return;
  const DeviceMemory::Access access;
  std::string error = RunGrid(grid, block, shared_bytes, body);
  if (!error.empty()) Fail(cudaErrorLaunchFailure, std::move(error));
}

}  // namespace gpu::emulation

using gpu::emulation::DeviceMemory;
using gpu::emulation::Enqueue;
using gpu::emulation::Fail;
using gpu::emulation::Space;

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  gpu::emulation::ReportHostAccess();
  return device == 0 ? cudaSuccess : Fail(cudaErrorInvalidValue, "there is one emulated device");
}
cudaError_t cudaGetLastError() {
  return std::exchange(gpu::emulation::last_error, cudaSuccess);
}
cudaError_t cudaPeekAtLastError() {
  return gpu::emulation::last_error;
}
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorNotReady: return "device not ready";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
  }
  return "unknown error";
}

cudaError_t cudaMalloc(void** at, size_t bytes) {
  *at = DeviceMemory::Get().Allocate(bytes);
  if (*at != nullptr) return cudaSuccess;
  return Fail(cudaErrorMemoryAllocation, "out of emulated device memory");
}
cudaError_t cudaFree(void* at) {
  if (at == nullptr) return cudaSuccess;
  gpu::emulation::RunAll();  // It waits for the device.
  if (DeviceMemory::Get().Free(at)) return cudaSuccess;
  return Fail(cudaErrorInvalidValue, "cudaFree of what cudaMalloc did not return");
}
cudaError_t cudaMallocAsync(void** at, size_t bytes, cudaStream_t) {
  return cudaMalloc(at, bytes);
}
cudaError_t cudaFreeAsync(void* at, cudaStream_t stream) {
  if (DeviceMemory::Get().SpaceOf(at, 0) != Space::kDevice) {
    return Fail(cudaErrorInvalidValue, "cudaFreeAsync of what is not device memory");
  }
  Enqueue(stream, [=] { (void)DeviceMemory::Get().Free(at); });
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** at, size_t bytes) {
  *at = DeviceMemory::Get().AllocatePinned(bytes);
  return *at != nullptr ? cudaSuccess : Fail(cudaErrorMemoryAllocation, "out of host memory");
}
cudaError_t cudaFreeHost(void* at) {
  if (at == nullptr || DeviceMemory::Get().FreePinned(at)) return cudaSuccess;
  return Fail(cudaErrorInvalidValue, "cudaFreeHost of what cudaMallocHost did not return");
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  if (width == 0 || height == 0) return cudaSuccess;
  if (width > to_pitch || width > from_pitch) {
    return Fail(cudaErrorInvalidValue, "a copy of rows wider than their pitch");
  }
  const cudaError_t checked = gpu::emulation::CheckCopy(to, to_pitch * (height - 1) + width, from,
                                                        from_pitch * (height - 1) + width, kind);
  if (checked != cudaSuccess) return checked;
  Enqueue(stream, [=] {
    if (gpu::emulation::Broken()) return;
    const DeviceMemory::Access access;
    for (size_t row = 0; row < height; ++row) {
      std::memcpy(static_cast<char*>(to) + row * to_pitch,
                  static_cast<const char*>(from) + row * from_pitch, width);
    }
  });
  return cudaPeekAtLastError();
}
cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (DeviceMemory::Get().SpaceOf(at, bytes) != Space::kDevice) {
    return Fail(cudaErrorInvalidValue, "cudaMemset outside of a device allocation");
  }
  Enqueue(stream, [=] {
    const DeviceMemory::Access access;
    std::memset(at, value, bytes);
  });
  return cudaPeekAtLastError();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new gpu::emulation::Stream;
  gpu::emulation::Streams::Get().Add(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  gpu::emulation::RunThrough(stream, stream->queued);
  gpu::emulation::Streams::Get().Remove(stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream == nullptr) {
    gpu::emulation::RunAll();
  } else {
    gpu::emulation::RunThrough(stream, stream->queued);
  }
  return cudaPeekAtLastError();
}
cudaError_t cudaDeviceSynchronize() {
  return cudaStreamSynchronize(nullptr);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new gpu::emulation::Event;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->stream = stream;
  event->number = stream == nullptr ? 0 : stream->queued;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->stream != nullptr) gpu::emulation::RunThrough(event->stream, event->number);
  return cudaPeekAtLastError();
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  gpu::emulation::Stream* const source = event->stream;
  const uint64_t number = event->number;
  if (source != nullptr && source != stream) {
    Enqueue(stream, [=] { gpu::emulation::RunThrough(source, number); });
  }
  return cudaSuccess;
}

// The CUDA runtime on the CPU, as far as Pagoda uses them. Included by
// kernels/gpu.h alone.
//
// Device memory is a range of addresses that faults when touched, except while a kernel
// or a copy runs: host code that dereferences a device pointer ends with SIGSEGV. Each
// allocation is filled with 0xff (NaN), and followed by a red zone for AddressSanitizer.
// Copies must lie in one allocation and go the way they say; arguments of a kernel that
// are pointers must be device memory, or pinned.
//
// Errors are the runtime's codes; LastErrorText() has the words.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kernels/gpu_emulation/scheduler.h"

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorNoDevice = 100,
  cudaErrorNotReady = 600,
  cudaErrorLaunchFailure = 719
};
enum cudaMemcpyKind {
  cudaMemcpyHostToHost = 0,
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3
};
namespace gpu::emulation {
struct Stream;
struct Event;
}  // namespace gpu::emulation
using cudaStream_t = gpu::emulation::Stream*;
using cudaEvent_t = gpu::emulation::Event*;
constexpr unsigned cudaStreamNonBlocking = 1;
constexpr unsigned cudaEventDisableTiming = 2;

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaMalloc(void** at, size_t bytes);
cudaError_t cudaFree(void* at);
cudaError_t cudaMallocAsync(void** at, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* at, cudaStream_t stream);
cudaError_t cudaMallocHost(void** at, size_t bytes);
cudaError_t cudaFreeHost(void* at);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaDeviceSynchronize();

namespace gpu::emulation {

// Of this host thread's last error; "" when there was none.
std::string LastErrorText();

// `name`, which must stay, is of a kernel or copy that was just launched.
void NoteKernel(const char* name);

cudaError_t CheckLaunch(dim3 grid, dim3 block, size_t shared_bytes);
bool CheckPointerArgument(const void* pointer, int index);
void Enqueue(Stream* stream, std::function<void()> work);
// Runs the grid with device memory open, and keeps its error.
void RunLaunch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body);

template <typename T>
bool CheckArgument(const T& argument, int index) {
  if constexpr (std::is_pointer_v<T>) {
    return CheckPointerArgument(argument, index);
  } else {
    return true;
  }
}

}  // namespace gpu::emulation

namespace gpu {

template <typename... Parameters, typename... Arguments>
cudaError_t Launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments));
  const cudaError_t checked = emulation::CheckLaunch(grid, block, shared_bytes);
  if (checked != cudaSuccess) return checked;
  // Copied now, as a launch does.
  const std::tuple<std::decay_t<Parameters>...> copies(static_cast<Parameters>(arguments)...);
  int index = 0;
  const bool good = std::apply(
      [&](const auto&... copy) { return (true && ... && emulation::CheckArgument(copy, index++)); },
      copies);
  if (!good) return cudaErrorInvalidValue;
  emulation::Enqueue(stream, [=] {
    emulation::RunLaunch(grid, block, shared_bytes, [&] { std::apply(kernel, copies); });
  });
  return cudaPeekAtLastError();
}

}  // namespace gpu

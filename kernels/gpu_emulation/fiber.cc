// The switch is 20 instructions where the processor is x86-64 (30 to 50 ns with all the
// scheduling around it), and ucontext elsewhere (300 ns: it asks the system for signals).
#include "kernels/gpu_emulation/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace gpu::emulation {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kStackBytes = size_t{64} << 10;

}  // namespace
}  // namespace gpu::emulation

#if defined(__x86_64__)
// Saves what a function must keep, and the stack pointer to *save; goes on at `to`.
extern "C" void PagodaSwitchStack(void** save, void* to);
asm(R"(
.text
.globl PagodaSwitchStack
.type PagodaSwitchStack,@function
PagodaSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size PagodaSwitchStack,.-PagodaSwitchStack
)");
#endif

namespace gpu::emulation {

Fiber::~Fiber() {
  if (!owns_stack) return;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack, stack_bytes);
#endif
  munmap(stack - kPage, stack_bytes + kPage);
#if !defined(__x86_64__)
  delete static_cast<ucontext_t*>(stack_pointer);
#endif
}

std::unique_ptr<Fiber> NewFiber(void (*entry)()) {
  auto fiber = std::make_unique<Fiber>();
  void* const mapped = mmap(nullptr, kStackBytes + kPage, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED || mprotect(mapped, kPage, PROT_NONE) != 0) std::abort();
  fiber->stack = static_cast<char*>(mapped) + kPage;
  fiber->stack_bytes = kStackBytes;
  fiber->owns_stack = true;
#if defined(__x86_64__)
  auto** top = reinterpret_cast<void**>(fiber->stack + kStackBytes);
  *--top = nullptr;  // Where `entry` would return to; also aligns its stack.
  *--top = reinterpret_cast<void*>(entry);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  fiber->stack_pointer = top;
#else
  auto* const context = new ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = fiber->stack;
  context->uc_stack.ss_size = kStackBytes;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  fiber->stack_pointer = context;
#endif
  return fiber;
}

void SwitchFiber(Fiber* from, Fiber* to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->stack_bytes);
#endif
#if defined(__x86_64__)
  PagodaSwitchStack(&from->stack_pointer, to->stack_pointer);
#else
  if (from->stack_pointer == nullptr) from->stack_pointer = new ucontext_t;
  swapcontext(static_cast<ucontext_t*>(from->stack_pointer),
              static_cast<ucontext_t*>(to->stack_pointer));
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
#endif
}

void BeginFiber(Fiber* from) {
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
  // The host thread's own stack is known from here on.
  if (from->stack == nullptr) {
    from->stack = const_cast<char*>(static_cast<const char*>(bottom));
    from->stack_bytes = bytes;
  }
#else
  (void)from;
#endif
}

}  // namespace gpu::emulation

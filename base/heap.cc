#include "base/heap.h"

#include <algorithm>
#include <thread>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace pagoda {

void TuneHeap() {
#ifdef __GLIBC__
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, 2000000000);
  ::mallopt(M_TOP_PAD, 64 << 20);
  ::mallopt(M_ARENA_MAX, static_cast<int>(std::max(2U, std::thread::hardware_concurrency())));
#endif
}

void ReturnFreeHeap() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace pagoda

// The `pagoda` command.

#include <malloc.h>

#include "deploy/command_line.h"

int main(int argc, char** argv) {
  // Requests and batches are megabytes that come and go. By default glibc returns
  // such blocks to the kernel and faults them in again page by page, which costs
  // more than the request itself: 7.7 against 22 million rows/s at 16k rows a request.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 2000000000);
  mallopt(M_TOP_PAD, 64 << 20);
  return pagoda::RunCommandLine(argc, argv);
}

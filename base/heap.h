// How malloc treats megabytes that come and go. What is here does nothing where malloc is
// not glibc's.
//
// Threads: any; TuneHeap before there are others.
#pragma once

namespace pagoda {

// For the first line of main() of what serves or trains. Requests and batches are megabytes
// that come and go: by default glibc returns such blocks to the kernel and faults them in
// again page by page, which costs more than the request itself: 7.7 against 22 million
// rows/s at 16k rows a request. And it gives threads up to eight heaps a processor, each of
// which keeps what was freed in it: one a processor keep less.
void TuneHeap();

// Returns free pages to the system, those between blocks in use too. For after something
// that took much memory from other threads' heaps. About a millisecond a gigabyte.
void ReturnFreeHeap();

}  // namespace pagoda

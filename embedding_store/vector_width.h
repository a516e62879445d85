// PAGODA_EACH_VECTOR_WIDTH before a function's definition: one copy of it per vector
// width, chosen when the program starts. The sanitizers' runtimes do not survive the
// resolver functions that this needs. All copies give the same bits as long as sums run
// in an order of their own (base/row_update.h).
#pragma once

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__clang__)
#define PAGODA_EACH_VECTOR_WIDTH __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define PAGODA_EACH_VECTOR_WIDTH
#endif

// What the fuzzers of the data path do with some bytes; also run, with mutated
// samples, as an ordinary test (tests/worker/data_fuzz_test.cc).
//
// Both end the process when a promise is broken: a batch that does not add up, a bad
// row without a reason, or a file that reads otherwise the second time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pagoda {

// The first byte picks a format; the rest is one row, parsed and transformed twice.
void FuzzRow(const uint8_t* bytes, size_t size);

// The first byte picks options; the rest is a file (perhaps compressed), whose lines
// are read in one go and then again from every position.
void FuzzFile(const uint8_t* bytes, size_t size);

}  // namespace pagoda

// Fuzzes the reading of a file: decompression, lines, positions.
#include "tests/fuzz/data_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  pagoda::FuzzFile(bytes, size);
  return 0;
}

// Fuzzes the parsing of one row, in every format.
#include "tests/fuzz/data_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  pagoda::FuzzRow(bytes, size);
  return 0;
}

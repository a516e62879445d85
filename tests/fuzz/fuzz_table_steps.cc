// Fuzzes the reading of the steps of exact tables.
#include "tests/fuzz/store_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  pagoda::FuzzTableSteps(bytes, size);
  return 0;
}

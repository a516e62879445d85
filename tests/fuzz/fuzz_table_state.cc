// Fuzzes the reading of tables' states: counters and pages of admission counts.
#include "tests/fuzz/store_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  pagoda::FuzzTableState(bytes, size);
  return 0;
}

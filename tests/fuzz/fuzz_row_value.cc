// Fuzzes the reading of rows' values.
#include "tests/fuzz/store_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  pagoda::FuzzRowValue(bytes, size);
  return 0;
}

// Fuzzes the reading of rows' keys.
#include "tests/fuzz/store_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  pagoda::FuzzRowKey(bytes, size);
  return 0;
}

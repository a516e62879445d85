// Fuzzes the reading of registries.
#include "tests/fuzz/store_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  pagoda::FuzzRegistry(bytes, size);
  return 0;
}

// Fuzzes the reading of cuts' manifests.
#include "tests/fuzz/store_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  pagoda::FuzzCutManifest(bytes, size);
  return 0;
}

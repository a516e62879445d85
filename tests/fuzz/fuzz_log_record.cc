// Fuzzes the reading of log records and clients' windows.
#include "tests/fuzz/store_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  pagoda::FuzzLogRecord(bytes, size);
  return 0;
}

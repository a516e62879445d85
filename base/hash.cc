#include "base/hash.h"

#include <xxhash.h>

#include <string>

namespace pagoda {

uint64_t HashBytes(absl::string_view bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

FeatureId HashFeature(absl::string_view field, absl::string_view value) {
  // Most keys fit on the stack; the one-shot hash is several times faster than
  // the streaming one for short inputs.
  constexpr size_t kStackBytes = 256;
  const size_t total = field.size() + 1 + value.size();
  char stack[kStackBytes];
  std::string heap;
  char* key = stack;
  if (total > kStackBytes) {
    heap.resize(total);
    key = heap.data();
  }
  field.copy(key, field.size());
  key[field.size()] = '\0';
  value.copy(key + field.size() + 1, value.size());
  return XXH3_64bits(key, total);
}

}  // namespace pagoda

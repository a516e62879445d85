#include "base/hash.h"

#include <xxhash.h>

#include <string>

#include "base/status_macros.h"

namespace pagoda {

uint64_t HashBytes(absl::string_view bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

struct HashStream::State {
  XXH3_state_t* xxh3 = XXH3_createState();  // Aligned as its vector code needs.

  ~State() { XXH3_freeState(xxh3); }
};

HashStream::HashStream() : state_(std::make_unique<State>()) {
  PAGODA_CHECK(state_->xxh3 != nullptr);
  XXH3_64bits_reset(state_->xxh3);
}

HashStream::~HashStream() = default;

void HashStream::Update(absl::string_view bytes) {
  XXH3_64bits_update(state_->xxh3, bytes.data(), bytes.size());
}

uint64_t HashStream::Digest() const {
  return XXH3_64bits_digest(state_->xxh3);
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

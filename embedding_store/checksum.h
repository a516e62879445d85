// XXH3 (64 bits) over pieces: the checksum of every file this folder writes. Equal
// bytes give equal sums however they are cut into pieces. Threads: one at a time.
#pragma once

#include <xxhash.h>

#include <cstdint>
#include <memory>

#include "absl/strings/string_view.h"
#include "base/status_macros.h"

namespace pagoda {

class Checksum {
 public:
  Checksum() : state_(XXH3_createState()) {
    PAGODA_CHECK(state_ != nullptr);
    XXH3_64bits_reset(state_.get());
  }
  void Update(absl::string_view bytes) {
    XXH3_64bits_update(state_.get(), bytes.data(), bytes.size());
  }
  // Of everything since construction.
  uint64_t Digest() const { return XXH3_64bits_digest(state_.get()); }

  static uint64_t Of(absl::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

}  // namespace pagoda

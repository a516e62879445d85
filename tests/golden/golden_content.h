// The content of the golden files as text, for the program that writes them and the
// test that reads them. Threads: pure functions.
#pragma once

#include <string>

#include "embedding_store/embedding_store.h"

namespace pagoda {

// One line per row: table, id, last step, weights, slots; floats in hexadecimal, which
// is exact. Fails the process when the store cannot be read.
std::string RowsText(EmbeddingStore& store);

// One line per record: table, id, "stored" or "deleted", the value's bytes. Checks every
// file first.
absl::StatusOr<std::string> DeltaText(const std::string& directory);

}  // namespace pagoda

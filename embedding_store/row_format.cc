#include "embedding_store/row_format.h"

namespace pagoda {

void EncodeRowKey(const RowKey& key, char* bytes) {
  const uint16_t bucket = __builtin_bswap16(static_cast<uint16_t>(key.bucket));
  const uint32_t table = __builtin_bswap32(key.table);
  const uint64_t id = __builtin_bswap64(key.id);
  std::memcpy(bytes, &bucket, sizeof(bucket));
  std::memcpy(bytes + 2, &table, sizeof(table));
  std::memcpy(bytes + 6, &id, sizeof(id));
}

bool DecodeRowKey(absl::string_view bytes, RowKey* key) {
  if (bytes.size() != kRowKeyBytes) return false;
  uint16_t bucket = 0;
  std::memcpy(&bucket, bytes.data(), sizeof(bucket));
  std::memcpy(&key->table, bytes.data() + 2, sizeof(key->table));
  std::memcpy(&key->id, bytes.data() + 6, sizeof(key->id));
  key->bucket = __builtin_bswap16(bucket);
  key->table = __builtin_bswap32(key->table);
  key->id = __builtin_bswap64(key->id);
  return true;
}

}  // namespace pagoda

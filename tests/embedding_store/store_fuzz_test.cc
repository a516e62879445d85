// A short, repeatable run of the store's fuzzers on mutated samples: every bug that a
// fuzzer finds becomes a sample here.
#include "tests/fuzz/store_fuzz.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "base/random.h"
#include "embedding_store/client_windows.h"
#include "embedding_store/count_min_sketch.h"
#include "embedding_store/push_record.h"
#include "embedding_store/row_format.h"
#include "embedding_store/table_registry.h"
#include "embedding_store/table_state.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

// Changes, removes, doubles or inserts a few bytes; the same for the same key.
std::string Mutated(std::string bytes, RandomKey key) {
  uint64_t counter = 0;
  const auto below = [&](uint64_t bound) { return RandomBelow(key, counter++, bound); };
  const uint64_t changes = 1 + below(4);
  for (uint64_t i = 0; i < changes && !bytes.empty(); ++i) {
    const size_t at = below(bytes.size());
    const size_t length = below(std::min<size_t>(bytes.size() - at, 24) + 1);
    switch (below(5)) {
      case 0: bytes[at] = static_cast<char>(below(256)); break;
      case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8))); break;
      case 2: bytes.erase(at, length); break;
      case 3: bytes.insert(below(bytes.size()), bytes.substr(at, length)); break;
      default: bytes.insert(at, 1, static_cast<char>(below(2) * 255)); break;
    }
  }
  return bytes;
}

void Run(void (*body)(const uint8_t*, size_t), const std::vector<std::string>& samples,
         uint64_t rounds) {
  for (uint64_t round = 0; round < rounds; ++round) {
    for (size_t s = 0; s < samples.size(); ++s) {
      std::string input = samples[s];
      if (round > 0) input = Mutated(std::move(input), RandomKey{round}.Derive(s));
      CAPTURE(round, s);
      body(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    }
  }
}

std::string RecordBytes(uint64_t origin_sequence, bool refuses = false) {
  const std::vector<FeatureId> ids = {3, 1, 2};
  const std::vector<float> gradients(9, 0.5f);
  PushRecord record;
  record.sequence = 5;
  record.step = 7;
  record.origin = {9, 1, origin_sequence};
  record.tables.push_back({0, 3, 0.1f, ids, gradients});
  record.tables.push_back({4, 1, 0.1f, ids, {gradients.data(), 3}});
  if (refuses) record.tables[0].refused = ids;
  const EncodedRecord encoded(record);
  std::string bytes;
  for (absl::string_view piece : encoded.pieces()) bytes.append(piece.data(), piece.size());
  return bytes;
}

TEST_CASE("mutated log records and windows are read as what they are, or refused") {
  ClientWindows windows;
  windows.Record({1, 2, 3}, 4);
  windows.Record({5, 6, 7000}, 8);
  std::vector<std::string> samples = {"", std::string("x").append(windows.Encode())};
  for (const uint64_t origin : {0, 8}) {
    const std::string record = RecordBytes(origin);
    samples.push_back(std::string("x").append(record));
    // The payload alone: version 1 follows a multiple of three, version 2 one more.
    samples.push_back(std::string(origin == 0 ? "c" : "a").append(record, kRecordHeaderBytes));
  }
  // Version 3: two more than a multiple of three.
  samples.push_back(std::string("b").append(RecordBytes(8, true)));
  samples.push_back(std::string("b").append(RecordBytes(0, true), kRecordHeaderBytes));
  Run(FuzzLogRecord, samples, 4000);
}

TEST_CASE("mutated states of tables are read as what they are, or refused") {
  std::vector<std::string> samples = {"", EncodeTableCounters({1, 2, 3, 4})};
  for (const uint32_t width : {1u, 3u}) {
    CountMinSketch sketch(width);
    const FeatureId id = 5;
    sketch.Count({&id, 1}, 2, 9);
    samples.push_back(std::string(1, static_cast<char>(width / 2)) + "\x10" +
                      sketch.EncodePage(CountMinSketch::PageOf(id)));
  }
  Run(FuzzTableState, samples, 3000);
}

TEST_CASE("mutated registries are read as what they are, or refused") {
  TableOptions policies = MakeTable("p", 1, SparseOptimizerKind::kSgd);
  policies.admission.kind = AdmissionKind::kFrequency;
  policies.eviction.rule.rows_max = 3;
  const std::string text =
      FormatTableRegistry({MakeTable("user", 3, SparseOptimizerKind::kAdam),
                           MakeTable("a b\n\xff", 5, SparseOptimizerKind::kFtrl), policies});
  Run(FuzzRegistry, {"", text.substr(0, text.rfind("checksum "))}, 2000);
}

TEST_CASE("mutated manifests are read as what they are, or refused") {
  Run(FuzzCutManifest,
      {"", "pagoda-cut 1\nsequence 1\nrows 1\nfiles 0\n",
       "pagoda-cut 1\nsequence 18446744073709551615\nrows 1\nfiles 2\n"
       "file REGISTRY 281 bd6cddd148a5c211\nfile rocksdb/000008.sst 1351 81fcc4348ec05727\n"},
      4000);
}

TEST_CASE("mutated keys are rows' keys or not") {
  Run(FuzzRowKey, {"", std::string(14, '\0'), std::string(14, '\xff'), std::string(15, '\xff')},
      2000);
}

TEST_CASE("mutated row values are read as what they are, or refused") {
  std::vector<std::string> samples = {""};
  for (int dim : {1, 2, 17}) {
    for (int precision = 0; precision < 4; ++precision) {
      TableOptions table;
      table.dim = dim;
      table.optimizer.kind = SparseOptimizerKind::kAdam;
      table.precision = static_cast<RowPrecision>(precision);
      const RowShape shape = ShapeOf(table);
      std::vector<uint64_t> words(shape.row_bytes() / 8 + 1);
      char* row = reinterpret_cast<char*>(words.data());
      *HeaderOf(row) = RowHeader{300, 7, 1};
      std::vector<float> floats(static_cast<size_t>(shape.num_floats()), 0.25f);
      StoreRowNearest(shape, floats.data(), row);
      if (shape.int8_on_disk) RoundToInt8(FloatsOf(row), dim, RandomKey{1});
      std::string value(shape.value_bytes_max(), 'x');
      value.resize(EncodeRowValue(shape, row, value.data()));
      const char table_bytes[] = {static_cast<char>(dim - 1), 3, static_cast<char>(precision)};
      samples.push_back(std::string(table_bytes, 3).append(value));
    }
  }
  Run(FuzzRowValue, samples, 2000);
}

TEST_CASE("mutated steps of exact tables are read as what they are, or refused") {
  const std::string one("\0\0\0\0\1\0\0\0\0\0\0\0\7\0\0\0\0\0\x80\x3f", 20);
  const std::string other("\2\0\0\0\0\0\0\0\0\0\0\0", 12);
  Run(FuzzTableSteps, {"", one, other, one + other}, 4000);
}

}  // namespace
}  // namespace pagoda

// What the fuzzers of the store's formats do with some bytes; also run, with mutated
// samples, as an ordinary test (tests/embedding_store/store_fuzz_test.cc).
//
// Checksums are put right first, since no fuzzer would find one. All end the process
// when a promise is broken: bytes that are taken and come back as others.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pagoda {

// The first byte picks a version; the rest is a record with its header, a payload, and
// the clients' windows of a meta record.
void FuzzLogRecord(const uint8_t* bytes, size_t size);

// Counters of a table; two bytes that pick a sketch and a page, and the page.
void FuzzTableState(const uint8_t* bytes, size_t size);

// A registry without its checksum line.
void FuzzRegistry(const uint8_t* bytes, size_t size);

// A cut's manifest without its checksum line.
void FuzzCutManifest(const uint8_t* bytes, size_t size);

// A row's key.
void FuzzRowKey(const uint8_t* bytes, size_t size);

// The first three bytes pick a table's dim, optimizer and precision; the rest is a row's
// value.
void FuzzRowValue(const uint8_t* bytes, size_t size);

// The steps of exact tables as a flush writes them.
void FuzzTableSteps(const uint8_t* bytes, size_t size);

}  // namespace pagoda

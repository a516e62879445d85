#include "embedding_store/table_state.h"

#include <catch2/catch.hpp>

namespace pagoda {
namespace {

TEST_CASE("a table's counters come back, and what is none is refused") {
  const TableCounters counters{1, 2, 3, ~uint64_t{0}};
  const std::string bytes = EncodeTableCounters(counters);
  CHECK(bytes.size() == 33);
  TableCounters back;
  REQUIRE(DecodeTableCounters(bytes, &back).ok());
  CHECK(back == counters);
  for (size_t size = 0; size < bytes.size(); ++size) {
    CHECK(absl::IsDataLoss(DecodeTableCounters(bytes.substr(0, size), &back)));
  }
  CHECK(absl::IsDataLoss(DecodeTableCounters(bytes + "x", &back)));
  CHECK(absl::IsFailedPrecondition(DecodeTableCounters("\x02" + bytes.substr(1), &back)));
  CHECK(back == counters);
}

}  // namespace
}  // namespace pagoda

#include "algorithms/lrea/packed_record.h"

#include <cmath>

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

using lrea::PackRecord;
using lrea::RecordPrecision;
using lrea::UnpackRecord;
using lrea::UserRecord;

constexpr size_t kOverhead = 56;

UserRecord RandomRecord(uint64_t seed, int64_t candidate_dim, int64_t rank, int64_t value_width) {
  UserRecord record = {seed + 5, candidate_dim, rank, value_width, {}, {}};
  record.a = RandomFloats(seed, candidate_dim * rank);
  record.m = RandomFloats(seed + 1000, rank * value_width);
  for (float& value : record.a) value *= 37.0f;
  for (float& value : record.m) value *= 1e-7f;  // Below what f16 has without a scale.
  return record;
}

TEST_CASE("A record packed in f32 is read back bit for bit") {
  for (const int64_t rank : {1, 2, 7, 32}) {
    for (const int64_t width : {0, 1, 5}) {
      const UserRecord record = RandomRecord(static_cast<uint64_t>(rank), 3, rank, width);
      const auto bytes = PackRecord(record, RecordPrecision::kF32);
      REQUIRE(bytes.ok());
      REQUIRE(bytes->size() == kOverhead + 4 * (record.a.size() + record.m.size()));
      const auto read = UnpackRecord(*bytes);
      INFO(read.status());
      REQUIRE(read.ok());
      REQUIRE(read->model_version == record.model_version);
      REQUIRE(read->candidate_dim == 3);
      REQUIRE(read->rank == rank);
      REQUIRE(read->value_width == width);
      REQUIRE(read->a == record.a);
      REQUIRE(read->m == record.m);
    }
  }
}

// Values of many sizes, and the power of two of the largest.
void RequireNear(const std::vector<float>& read, const std::vector<float>& values, double power) {
  REQUIRE(read.size() == values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const double v = double{values[i]};
    CAPTURE(i, v, read[i], power);
    REQUIRE(std::fabs(double{read[i]} - v) <= 0x1p-11 * std::fabs(v) + 0x1p-25 * power);
  }
}

TEST_CASE("A record packed in f16 is half as large, and off by what its header says") {
  for (const uint64_t seed : {1, 2, 3}) {
    UserRecord record = RandomRecord(seed, 6, 9, 4);
    for (size_t i = 0; i < record.a.size(); ++i) {
      record.a[i] = std::ldexp(record.a[i], -2 * static_cast<int>(i % 16));
    }
    record.a[0] = 100.0f;  // 64 .. 128
    record.m[1] = -0x1.8p-20f;
    const auto bytes = PackRecord(record, RecordPrecision::kF16);
    REQUIRE(bytes.ok());
    REQUIRE(bytes->size() == kOverhead + 2 * (record.a.size() + record.m.size()));
    const auto read = UnpackRecord(*bytes);
    REQUIRE(read.ok());
    CAPTURE(seed);
    RequireNear(read->a, record.a, 64.0);
    RequireNear(read->m, record.m, 0x1p-20);
    REQUIRE(read->a != record.a);  // It did round.

    const std::vector<float> t = RandomFloats(seed + 50, 6);
    const auto exact = Attend(record, seed + 5, t), near = Attend(*read, seed + 5, t);
    REQUIRE(exact.ok());
    REQUIRE(near.ok());
    for (size_t d = 0; d < 4; ++d) {
      double sum = 0.0;
      for (size_t c = 0; c < 6; ++c) {
        for (size_t k = 0; k < 9; ++k) {
          // The bound on a product of two values that are both off, tiny ones too.
          const double a = std::fabs(double{record.a[c * 9 + k]});
          const double m = std::fabs(double{record.m[k * 4 + d]});
          const double off_a = 0x1p-11 * a + 0x1p-25 * 64.0;
          const double off_m = 0x1p-11 * m + 0x1p-45;
          sum += std::fabs(double{t[c]}) * (off_a * m + off_m * a + off_a * off_m);
        }
      }
      CAPTURE(d, sum);
      REQUIRE(std::fabs(double{near->output[d]} - double{exact->output[d]}) <= 1.001 * sum);
    }
  }
}

TEST_CASE("A user without events has a record of zeros in either precision") {
  UserRecord record = {3, 2, 2, 1, {0, 0, 0, 0}, {0, 0}};
  for (const RecordPrecision precision : {RecordPrecision::kF32, RecordPrecision::kF16}) {
    const auto read = UnpackRecord(*PackRecord(record, precision));
    REQUIRE(read.ok());
    REQUIRE(read->a == record.a);
    REQUIRE(read->m == record.m);
  }
}

TEST_CASE("Damaged bytes and records that do not fit are refused") {
  UserRecord record = RandomRecord(8, 3, 4, 2);
  const std::string bytes = *PackRecord(record, RecordPrecision::kF16);
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    CAPTURE(i);
    REQUIRE(UnpackRecord(damaged).status().code() == absl::StatusCode::kDataLoss);
    REQUIRE(UnpackRecord(bytes.substr(0, i)).status().code() == absl::StatusCode::kDataLoss);
  }
  REQUIRE(UnpackRecord(bytes + "x").status().code() == absl::StatusCode::kDataLoss);
  record.a[2] = NAN;
  const absl::Status bad = PackRecord(record, RecordPrecision::kF16).status();
  REQUIRE(bad.message() == "A_u of a record of model version 13 has a value that is not finite");
  record.a.pop_back();
  REQUIRE(PackRecord(record, RecordPrecision::kF32).status().message() ==
          "A_u of a record has 11 values, expected 12");
}

}  // namespace
}  // namespace pagoda

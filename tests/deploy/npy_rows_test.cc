#include "deploy/npy_rows.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "tests/deploy/scratch_directory.h"

using namespace pagoda;

namespace {

// A file as NumPy writes it; `version` 1 or 2.
template <typename T>
void WriteArray(const std::string& path, const std::string& type, const std::string& shape,
                const std::vector<T>& values, int version = 1, const std::string& order = "False") {
  std::string header =
      absl::StrCat("{'descr': '", type, "', 'fortran_order': ", order, ", 'shape': ", shape, ", }");
  const size_t prefix = version == 1 ? 10 : 12;
  header.append(63 - (prefix + header.size()) % 64, ' ');
  header.push_back('\n');
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY", 6);
  file.put(static_cast<char>(version)).put('\0');
  file.put(static_cast<char>(header.size() & 0xff)).put(static_cast<char>(header.size() >> 8));
  if (version > 1) file.put('\0').put('\0');
  file << header;
  file.write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(T)));
}

struct Files {
  ScratchDirectory scratch;
  NpyRowsFiles names{scratch.File("ids.npy"), scratch.File("weights.npy"), ""};

  void Write(size_t count, int version = 1) {
    std::vector<uint64_t> ids(count);
    std::vector<float> weights(count * 3), slots(count * 2);
    for (size_t i = 0; i < count; ++i) ids[i] = MixBits(i);
    for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i);
    for (size_t i = 0; i < slots.size(); ++i) slots[i] = -static_cast<float>(i);
    WriteArray(names.ids, "<u8", absl::StrCat("(", count, ",)"), ids, version);
    WriteArray(names.weights, "<f4", absl::StrCat("(", count, ", 3)"), weights, version);
    WriteArray(scratch.File("slots.npy"), "<f4", absl::StrCat("(", count, ", 2)"), slots, version);
  }
};

}  // namespace

TEST_CASE("every row comes once, to its own shard, with its values") {
  const size_t count = GENERATE(size_t{0}, size_t{1}, size_t{16385}, size_t{40000});
  const uint32_t num_shards = GENERATE(1u, 3u);
  const bool with_slots = GENERATE(false, true);
  CAPTURE(count, num_shards, with_slots);
  Files files;
  files.Write(count, with_slots ? 2 : 1);
  if (with_slots) files.names.slots = files.scratch.File("slots.npy");
  std::map<FeatureId, size_t> number;
  for (size_t i = 0; i < count; ++i) number[MixBits(i)] = i;
  size_t seen = 0;
  for (uint32_t shard = 0; shard < num_shards; ++shard) {
    auto rows = NpyRows::Open(files.names, 3, 2);
    INFO(rows.status());
    REQUIRE(rows.ok());
    CHECK((*rows)->rows() == count);
    for (;;) {
      const auto next = (*rows)->Next(shard, num_shards);
      REQUIRE(next.ok());
      if (next->ids.empty()) break;
      REQUIRE(next->weights.size() == next->ids.size() * 3);
      REQUIRE(next->slots.size() == (with_slots ? next->ids.size() * 2 : 0));
      for (size_t k = 0; k < next->ids.size(); ++k) {
        REQUIRE(ShardOf(next->ids[k], num_shards) == shard);
        const auto i = number.at(next->ids[k]);
        REQUIRE(next->weights[k * 3 + 2] == static_cast<float>(i * 3 + 2));
        if (with_slots) REQUIRE(next->slots[k * 2 + 1] == -static_cast<float>(i * 2 + 1));
        ++seen;
      }
    }
  }
  CHECK(seen == count);
}

TEST_CASE("files that do not fit are refused by name") {
  Files files;
  files.Write(10);
  const auto refused = [&](absl::StatusCode code, const std::string& says, int64_t dim = 3) {
    const absl::Status status = NpyRows::Open(files.names, dim, 2).status();
    INFO(status);
    CHECK(status.code() == code);
    CHECK(std::string(status.message()).find(says) != std::string::npos);
  };
  using Code = absl::StatusCode;
  refused(Code::kInvalidArgument, "weights.npy: shape (10, 3) instead of (10, 4)", 4);
  WriteArray<double>(files.names.weights, "<f8", "(10, 3)", std::vector<double>(30));
  refused(Code::kInvalidArgument, "weights.npy: expected float32 in C order");
  WriteArray<float>(files.names.weights, "<f4", "(10, 3)", std::vector<float>(30), 1, "True");
  refused(Code::kInvalidArgument, "weights.npy: expected float32 in C order");
  WriteArray<float>(files.names.weights, "<f4", "(30,)", std::vector<float>(30));
  refused(Code::kInvalidArgument, "weights.npy: it has 1 dimensions instead of 2");
  WriteArray<float>(files.names.weights, "<f4", "(9, 3)", std::vector<float>(27));
  refused(Code::kInvalidArgument, "weights.npy: shape (9, 3) instead of (10, 3)");
  std::ofstream(files.names.weights) << "1,2,3";
  refused(Code::kInvalidArgument, "weights.npy: not a NumPy .npy file");
  files.names.weights += ".gone";
  refused(Code::kNotFound, "weights.npy.gone: cannot read");

  files.names.weights = files.scratch.File("short.npy");
  WriteArray<float>(files.names.weights, "<f4", "(10, 3)", std::vector<float>(29));
  auto rows = NpyRows::Open(files.names, 3, 2);
  REQUIRE(rows.ok());
  CHECK((*rows)->Next(0, 1).status().code() == Code::kDataLoss);
}

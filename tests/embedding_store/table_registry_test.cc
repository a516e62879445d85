#include "embedding_store/table_registry.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;
using Kind = SparseOptimizerKind;

std::vector<TableOptions> SomeTables() {
  std::vector<TableOptions> tables = {MakeTable("plain", 1, Kind::kSgd),
                                      MakeTable("odd \n\"name\"\\ \xc3\xa9", 4096, Kind::kFtrl)};
  tables[0].precision = RowPrecision::kInt8;
  tables[1].slots_grown = true;
  tables[1].seed = ~uint64_t{0};
  tables[1].frozen = true;
  tables[1].init_zero_columns = 17;
  tables[1].optimizer.learning_rate = 0.1f;
  tables[1].optimizer.ftrl_l1 = 1e-30f;
  tables[1].optimizer.epsilon = std::nextafter(1.0f, 2.0f);
  tables.push_back(MakeTable("every option", 3, Kind::kMomentum));
  SparseOptimizerOptions& o = tables[2].optimizer;
  o.momentum = 0.25f;
  o.weight_decay = 0.3f;
  o.accumulator_decay = 0.1f;
  o.decay_steps = 12345;
  o.ftrl_l21 = 0.7f;
  o.clip_norm = 0.9f;
  o.clip_value = 1.1f;
  o.exact = true;
  o.schedule = {RateScheduleKind::kCosine, 5, 50, 0.1f};
  tables.push_back(MakeTable("admits and evicts", 2, Kind::kSgd));
  tables[3].admission = {
      .kind = AdmissionKind::kFrequency, .count = 7, .window_steps = 1 << 20, .sketch_mib = 3};
  EvictionPolicy& e = tables[3].eviction;
  e.every_steps = 11;
  e.every_seconds = 12;
  e.bytes_disk_max = int64_t{1} << 40;
  e.rule = {.unused_steps = 13,
            .updates_min = 14,
            .norm_min = 0.3f,
            .rows_max = 15,
            .score_min = 0.7,
            .score_half_life = 16,
            .order = EvictionOrder::kLowestScore};
  tables[3].optimizer.schedule = {RateScheduleKind::kCosine, 5, 50, 0.1f};
  tables.push_back(MakeTable("draws", 2, Kind::kSgd));
  tables[4].admission = {.kind = AdmissionKind::kProbability, .probability = 0.1};
  return tables;
}

TEST_CASE("a registry reads back exactly") {
  const std::vector<TableOptions> tables = SomeTables();
  const auto back = ParseTableRegistry(FormatTableRegistry(tables), "REGISTRY");
  INFO(back.status());
  REQUIRE(back.ok());
  REQUIRE(back->size() == tables.size());
  for (size_t t = 0; t < tables.size(); ++t) {
    CHECK((*back)[t].name == tables[t].name);
    CHECK(CheckSameTable(tables[t], (*back)[t]).ok());
    CHECK((*back)[t].frozen == tables[t].frozen);
    CHECK((*back)[t].slots_grown == tables[t].slots_grown);
    CHECK((*back)[t].admission == tables[t].admission);
    CHECK((*back)[t].eviction == tables[t].eviction);
    CHECK((*back)[t].optimizer.schedule == tables[t].optimizer.schedule);
    CHECK((*back)[t].optimizer.learning_rate == tables[t].optimizer.learning_rate);
  }
  const auto empty = ParseTableRegistry(FormatTableRegistry({}), "REGISTRY");
  REQUIRE(empty.ok());
  CHECK(empty->empty());
}

TEST_CASE("every damaged byte and every cut is noticed") {
  const std::string text = FormatTableRegistry(SomeTables());
  for (size_t at = 0; at < text.size(); ++at) {
    CAPTURE(at);
    std::string damaged = text;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    const auto parsed = ParseTableRegistry(damaged, "the/REGISTRY");
    REQUIRE_FALSE(parsed.ok());
    REQUIRE((absl::IsDataLoss(parsed.status()) || absl::IsFailedPrecondition(parsed.status())));
    REQUIRE_THAT(std::string(parsed.status().message()), Contains("the/REGISTRY"));
    REQUIRE_FALSE(ParseTableRegistry(text.substr(0, at), "the/REGISTRY").ok());
  }
}

TEST_CASE("another version is refused as such, a wrong line by its number") {
  const std::string later = WithChecksumLine("pagoda-registry 2\nanything\n");
  const auto parsed = ParseTableRegistry(later, "REGISTRY");
  CHECK(absl::IsFailedPrecondition(parsed.status()));
  CHECK_THAT(std::string(parsed.status().message()), Contains("pagoda-registry 2"));

  const std::string wrong =
      WithChecksumLine("pagoda-registry 1\ntables 1\ntable 0\nname x\ndim y\n");
  const auto line = ParseTableRegistry(wrong, "REGISTRY");
  CHECK(absl::IsDataLoss(line.status()));
  CHECK_THAT(std::string(line.status().message()), Contains("REGISTRY:5") && Contains("dim"));
}

TEST_CASE("a registry that cannot be written leaves the old one") {
  ScratchDirectory scratch;
  FaultyFileSystem fs;
  const std::string path = scratch / "REGISTRY";
  REQUIRE(WriteTableRegistry(&fs, path, {}).ok());
  fs.SetSpace(100);
  CHECK(absl::IsResourceExhausted(WriteTableRegistry(&fs, path, SomeTables())));
  const auto read = ReadTableRegistry(&fs, path);
  REQUIRE(read.ok());
  CHECK(read->empty());
}

}  // namespace
}  // namespace pagoda

#include "deploy/table_policy_keys.h"

#include <catch2/catch.hpp>

namespace pagoda {
namespace {

TEST_CASE("keys of admission and eviction reach the specification") {
  TablePolicyFields fields;
  proto::TableSpec spec;
  SetPolicySpecs(fields, &spec);
  CHECK(!spec.has_admission());
  CHECK(!spec.has_eviction());

  JobKeys keys("table.user", "A table.");
  AddTablePolicies(keys, fields);
  const auto entry = [](const char* key, OptionValue value) {
    JobEntry made;
    made.section = "table.user";
    made.key = key;
    made.value = std::move(value);
    made.where = "job.toml:3";
    return made;
  };
  REQUIRE(
      keys.Fill({entry("admission", std::string("frequency")), entry("admission_count", int64_t{9}),
                 entry("admission_window_steps", int64_t{77}),
                 entry("admission_sketch_mib", int64_t{5}), entry("evict_unused_steps", int64_t{1}),
                 entry("evict_updates_min", int64_t{2}), entry("evict_norm_min", 0.5),
                 entry("evict_score_min", 0.25), entry("evict_score_half_life", int64_t{3}),
                 entry("evict_rows_max", int64_t{4}), entry("evict_disk_mb", int64_t{6}),
                 entry("evict_order", std::string("smallest")),
                 entry("evict_every_steps", int64_t{7}), entry("evict_every_s", int64_t{8})},
                "job.toml:1")
          .ok());
  SetPolicySpecs(fields, &spec);
  CHECK(spec.admission().kind() == "frequency");
  CHECK(spec.admission().count() == 9);
  CHECK(spec.admission().window_steps() == 77);
  CHECK(spec.admission().sketch_mib() == 5);
  CHECK(spec.eviction().unused_steps() == 1);
  CHECK(spec.eviction().updates_min() == 2);
  CHECK(spec.eviction().norm_min() == 0.5f);
  CHECK(spec.eviction().score_min() == 0.25);
  CHECK(spec.eviction().score_half_life() == 3);
  CHECK(spec.eviction().rows_max() == 4);
  CHECK(spec.eviction().bytes_disk_max() == int64_t{6} << 20);
  CHECK(spec.eviction().order() == "smallest");
  CHECK(spec.eviction().every_steps() == 7);
  CHECK(spec.eviction().every_seconds() == 8);

  for (const JobEntry& bad :
       {entry("admission", std::string("often")), entry("admission_count", int64_t{1}),
        entry("admission_probability", 0.0), entry("evict_order", std::string("newest")),
        entry("evict_norm_min", -1.0), entry("evict_updates_min", int64_t{1} << 33)}) {
    INFO(bad.key);
    CHECK(absl::IsInvalidArgument(keys.Fill({bad}, "job.toml:1")));
  }
}

}  // namespace
}  // namespace pagoda

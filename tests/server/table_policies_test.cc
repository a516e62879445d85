#include "server/table_policies.h"

#include <catch2/catch.hpp>

namespace pagoda {
namespace {

TEST_CASE("policies survive the way to a specification and back") {
  TableOptions options;
  options.name = "user";
  proto::TableSpec none;
  SetPolicies(options, &none);
  CHECK(!none.has_admission());
  CHECK(!none.has_eviction());
  TableOptions back;
  REQUIRE(TakePolicies(none, &back).ok());
  CHECK(back.admission == AdmissionOptions());
  CHECK(back.eviction == EvictionPolicy());

  options.admission = {.kind = AdmissionKind::kFrequency,
                       .count = 7,
                       .window_steps = 123,
                       .sketch_mib = 9,
                       .probability = 0.1};
  EvictionPolicy& e = options.eviction;
  e.every_steps = 1;
  e.every_seconds = 2;
  e.bytes_disk_max = 3;
  e.rule = {.unused_steps = 4,
            .updates_min = 5,
            .norm_min = 6.5f,
            .rows_max = 7,
            .score_min = 8.5,
            .score_half_life = 9,
            .order = EvictionOrder::kSmallest};
  proto::TableSpec spec;
  SetPolicies(options, &spec);
  REQUIRE(TakePolicies(spec, &back).ok());
  CHECK(back.admission == options.admission);
  CHECK(back.eviction == options.eviction);

  options.admission = {.kind = AdmissionKind::kProbability, .probability = 0.75};
  SetPolicies(options, &spec);
  back = {};
  REQUIRE(TakePolicies(spec, &back).ok());
  CHECK(back.admission == options.admission);
}

TEST_CASE("unknown names are refused") {
  TableOptions options;
  proto::TableSpec spec;
  spec.mutable_admission()->set_kind("often");
  CHECK_THAT(std::string(TakePolicies(spec, &options).message()), Catch::Contains("often"));
  spec.clear_admission();
  spec.mutable_eviction()->set_order("newest");
  CHECK_THAT(std::string(TakePolicies(spec, &options).message()), Catch::Contains("newest"));
}

}  // namespace
}  // namespace pagoda

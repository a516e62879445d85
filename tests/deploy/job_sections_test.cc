#include "deploy/job_sections.h"

#include <catch2/catch.hpp>

#include <set>

#include "algorithms/nn/model.h"

using namespace pagoda;

namespace {

// Every section, and [model] once for each model.
std::vector<JobKeys> AllSections(ModelOptions* options) {
  std::vector<JobKeys> sections = DescribeJob(nullptr);
  static std::string name;
  for (const ModelInfo& model : AllModels()) {
    *options = ModelOptions(model.options);
    sections.push_back(KeysOfModel(&name, &model, options));
  }
  return sections;
}

}  // namespace

TEST_CASE("no section has two keys of one name, and every key has a sentence") {
  ModelOptions options;
  for (const JobKeys& section : AllSections(&options)) {
    INFO(section.section());
    CHECK_FALSE(section.help().empty());
    std::set<std::string> names;
    for (const JobKey& key : section.keys()) {
      INFO(key.spec().key);
      CHECK(names.insert(key.spec().key).second);
      REQUIRE(key.spec().help.size() > 3);
      CHECK(key.spec().help.find('\n') == std::string::npos);
    }
  }
}

TEST_CASE("every default passes its own key's checks") {
  TrainerOptions trainer;
  StageOptions stage;
  DataOptions data;
  TestSet test;
  FeatureSchema schema;
  SparseFields sparse;
  ParameterServiceOptions server;
  LaunchOptions launch;
  float stddev = 0.01f;
  const std::vector<JobKeys> sections = {
      KeysOfData("data", data),      KeysOfTest(test),
      KeysOfSparse(sparse, &stddev), KeysOfTable("table.x", sparse),
      KeysOfDense(trainer.dense),    KeysOfSchedule(trainer.schedule),
      KeysOfTrain(trainer, stage),   KeysOfEvaluation(trainer.evaluation),
      KeysOfServer(server),          KeysOfLaunch(launch),
  };
  for (const JobKeys& section : sections) {
    for (const JobKey& key : section.keys()) {
      if (key.required() || key.unset()) continue;
      const JobEntry entry = {section.section(), key.spec().key, key.spec().default_value,
                              "job.toml:1", false};
      const absl::Status status = section.Fill({entry}, "job.toml:1");
      INFO(status);
      CHECK(status.ok());
    }
  }
}

TEST_CASE("units of memory and time are those of the key's name") {
  ParameterServiceOptions server;
  REQUIRE(KeysOfServer(server)
              .Fill({{"server", "memory_mb", int64_t{64}, "", false},
                     {"server", "disk_mb", int64_t{3}, "", false},
                     {"server", "in_flight_mb", int64_t{2}, "", false}},
                    "")
              .ok());
  CHECK(server.memory_bytes == int64_t{64} << 20);
  CHECK(server.disk_bytes_max == int64_t{3} << 20);
  CHECK(server.bytes_in_flight_max == int64_t{2} << 20);
  TrainerOptions trainer;
  StageOptions stage;
  REQUIRE(KeysOfTrain(trainer, stage)
              .Fill({{"train", "timeout_s", 2.5, "", false},
                     {"train", "wait_max_s", int64_t{60}, "", false}},
                    "")
              .ok());
  CHECK(trainer.timeout == absl::Milliseconds(2500));
  CHECK(trainer.wait_max == absl::Seconds(60));
}

TEST_CASE("choices become their enumerators") {
  const std::vector<std::pair<std::string, DenseOptimizerKind>> kinds = {
      {"sgd", DenseOptimizerKind::kSgd},
      {"adagrad", DenseOptimizerKind::kAdagrad},
      {"adam", DenseOptimizerKind::kAdam},
      {"adamw", DenseOptimizerKind::kAdamW}};
  for (const auto& [word, kind] : kinds) {
    DenseOptimizerOptions options;
    REQUIRE(KeysOfDense(options).Fill({{"dense", "optimizer", word, "", false}}, "").ok());
    CHECK(options.args.kind == kind);
  }
  const std::vector<std::pair<std::string, FeatureKind>> features = {
      {"categorical", FeatureKind::kCategorical},
      {"id", FeatureKind::kId},
      {"numeric", FeatureKind::kNumeric},
      {"bucketised", FeatureKind::kBucketised}};
  for (const auto& [word, kind] : features) {
    FeatureSpec feature;
    REQUIRE(KeysOfFeature("features.x", feature)
                .Fill({{"features.x", "kind", word, "", false}}, "")
                .ok());
    CHECK(feature.kind == kind);
  }
  const std::vector<std::pair<std::string, Pooling>> poolings = {
      {"sum", Pooling::kSum}, {"mean", Pooling::kMean}, {"sqrtn", Pooling::kSqrtN}};
  for (const auto& [word, pooling] : poolings) {
    FeatureSpec feature;
    REQUIRE(KeysOfFeature("features.x", feature)
                .Fill({{"features.x", "kind", std::string("id"), "", false},
                       {"features.x", "pooling", word, "", false}},
                      "")
                .ok());
    CHECK(feature.pooling == pooling);
  }
}

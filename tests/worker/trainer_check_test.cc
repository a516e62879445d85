#include "worker/trainer_check.h"

#include <catch2/catch.hpp>
#include <functional>

namespace pagoda {
namespace {

TrainerOptions Good() {
  TrainerOptions options;
  options.job = "job";
  options.output_dir = "out";
  options.stages.resize(1);
  return options;
}

TEST_CASE("each option out of range is refused by its name") {
  REQUIRE(CheckTrainerOptions(Good()).ok());
  const std::vector<std::pair<std::string, std::function<void(TrainerOptions&)>>> cases = {
      {"name", [](auto& o) { o.job.clear(); }},
      {"output directory", [](auto& o) { o.output_dir.clear(); }},
      {"no stage", [](auto& o) { o.stages.clear(); }},
      {"mode is 'bounded'", [](auto& o) { o.mode = "bounded"; }},
      {"on_nonfinite is 'go'", [](auto& o) { o.on_nonfinite = "go"; }},
      {"batch_size is 0", [](auto& o) { o.batch_size = 0; }},
      {"evaluation batch_size is -1", [](auto& o) { o.evaluation.batch_size = -1; }},
      {"every_steps is -1", [](auto& o) { o.evaluation.every_steps = -1; }},
      {"pull_ahead is -1", [](auto& o) { o.pull_ahead = -1; }},
      {"pushes_in_flight is 0", [](auto& o) { o.pushes_in_flight = 0; }},
      {"num_threads is 0", [](auto& o) { o.num_threads = 0; }},
      {"device_cache_bytes is -1", [](auto& o) { o.device_cache_bytes = -1; }},
      {"device_cache_age_steps is 0", [](auto& o) { o.device_cache_age_steps = 0; }},
      {"device_memory_bytes is -1", [](auto& o) { o.device_memory_bytes = -1; }},
      {"checkpoint_every_steps is -5", [](auto& o) { o.checkpoint_every_steps = -5; }},
      {"checkpoints_kept is 0", [](auto& o) { o.checkpoints_kept = 0; }},
      {"log_every_steps is -1", [](auto& o) { o.log_every_steps = -1; }},
      {"nonfinite_steps_max is -1", [](auto& o) { o.nonfinite_steps_max = -1; }},
      {"epochs is 0", [](auto& o) { o.stages[0].epochs = 0; }},
      {"steps_max is -1", [](auto& o) { o.stages[0].steps_max = -1; }},
  };
  for (const auto& [words, spoil] : cases) {
    TrainerOptions options = Good();
    spoil(options);
    const absl::Status status = CheckTrainerOptions(options);
    CAPTURE(words, status.ToString());
    REQUIRE(absl::IsInvalidArgument(status));
    REQUIRE(std::string(status.message()).find(words) != std::string::npos);
  }
}

}  // namespace
}  // namespace pagoda

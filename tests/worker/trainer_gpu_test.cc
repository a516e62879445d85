// Training on the emulated GPU, whose streams do nothing until they are waited for: rows
// copied ahead, gradients that leave beside the work, workers that sum on the device.
// (Trainer, worker/trainer.h.)

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>

#include "kernels/gpu_emulation/scheduler.h"
#include "tests/worker/planting_reader.h"
#include "tests/worker/stored_rows.h"
#include "tests/worker/training_world.h"
#include "worker/job_cut.h"

namespace pagoda {
namespace {

using Catch::Matchers::Contains;

// Settings are of the whole program; each test puts them back.
struct LazyStreams {
  LazyStreams() : before(gpu::emulation::settings()) {
    gpu::emulation::settings().lazy_streams = true;
  }
  ~LazyStreams() { gpu::emulation::settings() = before; }
  const gpu::emulation::Settings before;
};

TrainerOptions GpuJob(const std::string& model, const std::string& data,
                      const std::string& output) {
  TrainerOptions options = SmallJob(model, data, output);
  options.device = {DeviceKind::kEmulated, 0};
  options.stages[0].steps_max = 15;
  return options;
}

// The largest difference of dense values, over the largest value.
double DenseDifference(const std::string& cut_a, const std::string& cut_b) {
  const std::vector<float> a = ReadJobCut(cut_a)->values, b = ReadJobCut(cut_b)->values;
  REQUIRE(a.size() == b.size());
  double difference = 0.0, scale = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference = std::max(difference, std::fabs(double{a[i]} - double{b[i]}));
    scale = std::max(scale, std::fabs(double{b[i]}));
  }
  return difference / scale;
}

TEST_CASE("a GPU's losses are the same bits with batches copied ahead or not, and the CPU's") {
  const LazyStreams lazy;
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 1000});
  const std::string model = GENERATE("deepfm", "wide_deep");
  CAPTURE(model);
  std::vector<RunTrace> runs;
  for (const int64_t pull_ahead : {0, 2}) {
    TrainerOptions options =
        GpuJob(model, dir / "train.csv", dir / ("out" + std::to_string(pull_ahead)));
    options.pull_ahead = pull_ahead;
    options.dense.clip_norm = 1.0;
    runs.push_back(RunAlone(options, 2));
    INFO(runs.back().status.ToString());
    REQUIRE(runs.back().status.ok());
    REQUIRE(runs.back().losses.size() == 15);
    REQUIRE((runs.back().result.copied_ahead > 0) == (pull_ahead > 0));
    REQUIRE(runs.back().losses == runs[0].losses);
    REQUIRE(ReadCutRows(runs.back().result.final_cut).content_hash ==
            ReadCutRows(runs[0].result.final_cut).content_hash);
  }
  TrainerOptions options = GpuJob(model, dir / "train.csv", dir / "cpu");
  options.device = {};
  options.dense.clip_norm = 1.0;
  const RunTrace cpu = RunAlone(options, 2);
  for (size_t i = 0; i < cpu.losses.size(); ++i) {
    REQUIRE(runs[0].losses[i] == Approx(cpu.losses[i]).epsilon(1e-4));
  }
}

TEST_CASE("rows that stay on the GPU change no bit of a sync job") {
  const LazyStreams lazy;
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 1000});
  const std::string model = GENERATE("deepfm", "wide_deep");
  const int64_t pull_ahead = GENERATE(0, 2);
  CAPTURE(model, pull_ahead);
  std::vector<RunTrace> runs;
  // None, room for a few rows that keep making way for others, and for all.
  for (const int64_t bytes : {0, 1000, 1 << 20}) {
    TrainerOptions options =
        GpuJob(model, dir / "train.csv", dir / ("out" + std::to_string(bytes)));
    options.pull_ahead = pull_ahead;
    options.device_cache_bytes = bytes;
    options.stages[0].epochs = 3;
    options.stages[0].steps_max = 40;
    options.checkpoint_every_steps = 15;
    runs.push_back(RunAlone(options, 2));
    INFO(runs.back().status.ToString());
    REQUIRE(runs.back().status.ok());
    REQUIRE(runs.back().losses == runs[0].losses);
    REQUIRE(ReadCutRows(runs.back().result.final_cut).content_hash ==
            ReadCutRows(runs[0].result.final_cut).content_hash);
  }
  REQUIRE(runs[0].result.row_cache.lookups == 0);
  REQUIRE(runs[1].result.row_cache.hits > 0);
  const RowCacheStats& all = runs[2].result.row_cache;
  REQUIRE(all.evicted == 0);
  REQUIRE(2 * all.hits > all.lookups);
}

TEST_CASE("a step left out leaves the cached rows as they are") {
  const LazyStreams lazy;
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 1000});
  std::vector<RunTrace> runs;
  for (const int64_t bytes : {0, 1 << 20}) {
    TrainerOptions options = GpuJob("deepfm", dir / "train.csv", dir / std::to_string(bytes));
    options.device_cache_bytes = bytes;
    options.stages[0].data.shuffle_rows = 0;
    options.on_nonfinite = "skip";
    options.open_reader = PlantAt(2 + 7 * 64 + 40, [](Batch& batch, int64_t row) {
      batch.dense[static_cast<size_t>(row)] = std::nanf("");
    });
    runs.push_back(RunAlone(options, 1));
    INFO(runs.back().status.ToString());
    REQUIRE(runs.back().status.ok());
    REQUIRE(runs.back().result.nonfinite_steps == 1);
    REQUIRE(runs.back().losses == runs[0].losses);
  }
}

TEST_CASE("a GPU's rows come in and gradients go out in async mode, too") {
  const LazyStreams lazy;
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 1000});
  TrainerOptions options = GpuJob("deepfm", dir / "train.csv", dir / "out");
  options.mode = "async";
  options.pull_ahead = 3;
  options.pushes_in_flight = 4;
  options.stages[0].epochs = 4;
  options.stages[0].steps_max = 40;
  options.device_cache_bytes = GENERATE(0, 1 << 20);
  options.device_cache_age_steps = 8;
  const RunTrace run = RunAlone(options, 1);
  INFO(run.status.ToString());
  REQUIRE(run.status.ok());
  REQUIRE(run.losses.back() < run.losses.front());
  REQUIRE(run.result.copied_ahead > 0);
  REQUIRE((run.result.row_cache.hits > 0) == (options.device_cache_bytes > 0));
}

TEST_CASE("two GPUs with half the batch each match one") {
  const LazyStreams lazy;
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 1000});
  TrainerOptions one = GpuJob("deepfm", dir / "train.csv", dir / "one");
  one.stages[0].data.shuffle_rows = 0;
  TrainerOptions two = one;
  two.output_dir = dir / "two";
  const RunTrace alone = RunAlone(one, 1);
  const std::vector<RunTrace> both = RunTogether({two, two}, 1);
  for (const RunTrace& run : both) {
    INFO(run.status.ToString());
    REQUIRE(run.status.ok());
    REQUIRE(run.losses == both[0].losses);
  }
  REQUIRE(DenseDifference(both[0].result.final_cut, alone.result.final_cut) <= 1e-4);
}

TEST_CASE("a GPU whose peer fails ends with the cause") {
  const LazyStreams lazy;
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 300});
  WriteWorld(dir / "bad.csv", {.rows = 300});
  std::ofstream(dir / "bad.csv", std::ios::app) << "u1,i1,t1,forty,1\n";
  const TrainerOptions good = GpuJob("deepfm", dir / "train.csv", dir / "out");
  const TrainerOptions bad = GpuJob("deepfm", dir / "bad.csv", dir / "out");
  const std::vector<RunTrace> runs = RunTogether({good, bad}, 1);
  for (const RunTrace& run : runs) {
    INFO(run.status.ToString());
    REQUIRE_FALSE(run.status.ok());
    REQUIRE_THAT(std::string(run.status.message()), Contains("bad.csv:302"));
  }
}

TEST_CASE("a NaN on one GPU: neither applies anything of the step") {
  const LazyStreams lazy;
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 1000});
  TrainerOptions good = GpuJob("deepfm", dir / "train.csv", dir / "out");
  good.stages[0].data.shuffle_rows = 0;
  TrainerOptions bad = good;
  // Rows 32..63 of each batch are worker 1's: line 2 + 7 * 64 + 40 is in step 8.
  bad.open_reader = PlantAt(2 + 7 * 64 + 40, [](Batch& batch, int64_t row) {
    batch.dense[static_cast<size_t>(row)] = std::nanf("");
  });
  const std::vector<RunTrace> runs = RunTogether({good, bad}, 2);
  for (const RunTrace& run : runs) {
    INFO(run.status.ToString());
    REQUIRE(absl::IsOutOfRange(run.status));
    REQUIRE_THAT(std::string(run.status.message()), Contains("step 8"));
    REQUIRE(run.losses.size() == 7);
  }
  REQUIRE_THAT(std::string(runs[1].status.message()), Contains("train.csv:490"));
}

}  // namespace
}  // namespace pagoda

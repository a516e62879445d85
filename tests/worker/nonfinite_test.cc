#include "worker/nonfinite.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "tests/worker/planting_reader.h"
#include "tests/worker/stored_rows.h"
#include "tests/worker/training_world.h"

namespace pagoda {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
using Catch::Matchers::Contains;

TEST_CASE("a non-finite value is found wherever it stands") {
  for (size_t size = 0; size < 70; ++size) {
    std::vector<float> values(size, std::numeric_limits<float>::max());
    REQUIRE(AllFinite(values));
    REQUIRE(FirstNonFinite(values) == -1);
    for (size_t at = 0; at < size; ++at) {
      for (const float bad : {kNan, kInf, -kInf}) {
        values[at] = bad;
        CAPTURE(size, at, bad);
        REQUIRE_FALSE(AllFinite(values));
        REQUIRE(FirstNonFinite(values) == static_cast<int64_t>(at));
      }
      values[at] = -0.0f;
    }
  }
}

TEST_CASE("samples are described by file and line, a few of many") {
  Batch batch;
  batch.size = 7;
  batch.first_sample = 100;
  REQUIRE(DescribeSamples(batch, {1, 3}) == "sample 101, sample 103");
  batch.files = std::make_shared<std::vector<std::string>>(std::vector<std::string>{"a", "b"});
  for (int i = 0; i < 7; ++i) batch.origins.push_back({i % 2, 10 + i});
  REQUIRE(DescribeSamples(batch, {0, 1}) == "a:10, b:11");
  REQUIRE(DescribeSamples(batch, {0, 1, 2, 3, 4, 5, 6}, 2) == "a:10, b:11 and 5 more");
  REQUIRE(DescribeSamples(batch, {}).empty());
}

TrainerOptions SpoiltJob(const std::string& directory, const std::string& output,
                         const std::string& model, SpoilFn spoil) {
  TrainerOptions options = SmallJob(model, directory + "/train.csv", directory + "/" + output);
  options.stages[0].data.shuffle_rows = 0;
  options.stages[0].epochs = 1;
  // Line 1 is the header, so line 706 is row 704: the first of step 12.
  options.open_reader = PlantAt(706, std::move(spoil));
  return options;
}

// Runs the job, which must fail at step 12, and checks that servers and parameters
// are as a job of 11 steps leaves them.
std::string FailsAtStep12(TrainerOptions options, int num_servers) {
  options.checkpoint_every_steps = 11;
  const RunTrace run = RunAlone(options, num_servers);
  INFO(run.status.ToString());
  REQUIRE(absl::IsOutOfRange(run.status));
  REQUIRE(run.losses.size() == 11);
  REQUIRE(run.cuts.size() == 1);  // The last cut is kept.
  const CutRows at_11 = ReadCutRows(run.cuts[0].second);
  uint64_t live_hash = 0;
  for (int shard = 0; shard < num_servers; ++shard) {
    StoreOptions store;
    store.path = absl::StrCat(options.output_dir, "/server-", shard, "/store");
    store.read_only = true;
    const auto opened = EmbeddingStore::Open(store);
    INFO(opened.status().ToString());
    REQUIRE(opened.ok());
    live_hash += *(*opened)->ContentHash();
  }
  REQUIRE(live_hash == at_11.content_hash);
  return std::string(run.status.message());
}

TEST_CASE("a NaN in the data: nothing of the step is applied, and file and line are named") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  const std::string model = GENERATE("deepfm", "dlrm");
  CAPTURE(model);
  const std::string message = FailsAtStep12(
      SpoiltJob(dir.path(), "out", model,
                [](Batch& batch, int64_t row) { batch.dense[static_cast<size_t>(row)] = kNan; }),
      2);
  REQUIRE_THAT(message, Contains("step 12") && Contains("log_loss") && Contains("nan"));
  REQUIRE_THAT(message, Contains(dir / "train.csv:706"));
  REQUIRE_THAT(message, !Contains("more") && Contains("nothing of the step was applied"));
}

TEST_CASE("a value whose variance overflows does not spoil batch norm's statistics") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  TrainerOptions options = SpoiltJob(dir.path(), "out", "deepfm", [](Batch& batch, int64_t row) {
    batch.dense[static_cast<size_t>(row)] = 3e38f;
  });
  REQUIRE(options.model_options.Set("batch_norm", true).ok());
  const std::string message = FailsAtStep12(options, 1);
  REQUIRE_THAT(message, Contains("step 12") && Contains("running statistic"));
  REQUIRE_THAT(message, Contains(dir / "train.csv:706-769"));
}

TEST_CASE("a NaN that batch norm spreads over the batch is still traced to its sample") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  TrainerOptions options = SpoiltJob(dir.path(), "out", "deepfm", [](Batch& batch, int64_t row) {
    batch.dense[static_cast<size_t>(row)] = kNan;
  });
  REQUIRE(options.model_options.Set("batch_norm", true).ok());
  REQUIRE_THAT(FailsAtStep12(options, 1), Contains("from " + (dir / "train.csv:706") + ";"));
}

TEST_CASE("an infinite weight makes the loss infinite") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  const std::string message =
      FailsAtStep12(SpoiltJob(dir.path(), "out", "lr",
                              [](Batch& batch, int64_t row) {
                                batch.weights.assign(static_cast<size_t>(batch.size), 1.0f);
                                batch.weights[static_cast<size_t>(row)] = kInf;
                              }),
                    1);
  REQUIRE_THAT(message, Contains(dir / "train.csv:706"));
}

TEST_CASE("on_nonfinite = skip leaves the step out and goes on, up to its limit") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  const auto plant = [](Batch& batch, int64_t row) {
    batch.dense[static_cast<size_t>(row)] = kNan;
  };
  TrainerOptions options = SpoiltJob(dir.path(), "skipped", "deepfm", plant);
  REQUIRE(options.model_options.Set("batch_norm", true).ok());
  options.on_nonfinite = "skip";
  const RunTrace skipped = RunAlone(options, 1);
  INFO(skipped.status.ToString());
  REQUIRE(skipped.status.ok());
  REQUIRE(skipped.result.nonfinite_steps == 1);
  REQUIRE(skipped.losses.size() == 31);  // 32 batches less one.
  for (const double loss : skipped.losses) REQUIRE(std::isfinite(loss));
  REQUIRE(AllFinite(ReadJobCut(skipped.result.final_cut)->values));  // Statistics, too.

  options.output_dir = dir / "again";
  options.pull_ahead = 0;  // An early pull over a left-out step changes no bit.
  const RunTrace plain = RunAlone(options, 2);
  REQUIRE(plain.status.ok());
  REQUIRE(plain.losses == skipped.losses);

  options.output_dir = dir / "limited";
  options.nonfinite_steps_max = 1;
  options.stages[0].epochs = 3;
  const RunTrace limited = RunAlone(options, 1);
  REQUIRE(absl::IsOutOfRange(limited.status));
  REQUIRE_THAT(std::string(limited.status.message()), Contains("nonfinite_steps_max = 1"));
}

}  // namespace
}  // namespace pagoda

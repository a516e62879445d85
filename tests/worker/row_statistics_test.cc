// What a model sees of rows' statistics (ForwardInput::RowCount, RowAge) in whole jobs: on any
// layout the numbers that counting by hand gives.
#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <mutex>

#include "algorithms/nn/batch.h"
#include "tests/algorithms/warm_up_model.h"
#include "tests/worker/training_world.h"
#include "worker/evaluation.h"
#include "worker/hand_over.h"
#include "worker/job_cut.h"
#include "worker/trained_model.h"

namespace pagoda {
namespace {

using Row = std::pair<size_t, FeatureId>;  // Table, id.
struct Statistic {
  uint32_t count = 0;
  Step last = 0;
  friend bool operator==(const Statistic&, const Statistic&) = default;
};
using Counted = std::map<Row, Statistic>;

// What one Forward saw of the batch's unique rows.
struct Seen {
  bool training = false;
  std::map<Row, std::pair<float, float>> rows;  // Count, age; those of single-valued features.
  std::vector<Row> touched;                     // All rows of the batch.
};

// Of one worker, in order.
struct Recorder {
  std::vector<Seen> seen;

  WarmUpModel::Observe Observe() {
    return [this](ForwardInput& input, const Var& count, const Var& age) {
      const PreparedBatch& host = input.host();
      Seen now;
      now.training = input.training();
      for (size_t table = 0; table < host.unique_ids.size(); ++table) {
        for (const FeatureId id : host.unique_ids[table]) now.touched.push_back({table, id});
      }
      const size_t features = 3;
      const auto batch = static_cast<size_t>(host.batch.size);
      std::vector<float> counts(batch * features), ages(batch * features);
      const auto bytes = static_cast<int64_t>(counts.size() * sizeof(float));
      REQUIRE(input.tape().ctx().CopyToHost(count.value(), counts.data(), bytes).ok());
      REQUIRE(input.tape().ctx().CopyToHost(age.value(), ages.data(), bytes).ok());
      for (size_t i = 0; i < batch; ++i) {
        for (size_t f = 0; f < 2; ++f) {  // User and item: one id a sample.
          const FeatureId id = host.batch.IdsOf(static_cast<int>(f), static_cast<int64_t>(i))[0];
          const std::pair<float, float> row = {counts[i * features + f], ages[i * features + f]};
          const auto [known, is_new] = now.rows.try_emplace({f, id}, row);
          REQUIRE((is_new || known->second == row));  // The same all over the batch.
        }
      }
      seen.push_back(std::move(now));
    };
  }
  std::vector<Seen> training() const {
    std::vector<Seen> some;
    for (const Seen& now : seen) {
      if (now.training) some.push_back(now);
    }
    return some;
  }
};

TrainerOptions Job(const TemporaryDirectory& dir, const std::string& name, Recorder* recorder) {
  TrainerOptions options = SmallJob("lr", dir / "train.csv", dir / name);
  options.model_options = ModelOptions(std::vector<OptionSpec>{});
  options.create_model = [recorder] {
    return std::make_unique<WarmUpModel>(4, recorder->Observe());
  };
  return options;
}

// `counted` as it was after step `applied`.
void CheckSeen(const Seen& seen, const Counted& counted, Step applied) {
  for (const auto& [row, got] : seen.rows) {
    const auto found = counted.find(row);
    const bool is_there = found != counted.end();
    CAPTURE(row.first, row.second, applied, seen.training);
    REQUIRE(got.first == (is_there ? static_cast<float>(found->second.count) : 0.0f));
    REQUIRE(got.second == (is_there ? static_cast<float>(applied - found->second.last) : -1.0f));
  }
}

void Count(const Seen& seen, Step step, Counted* counted) {
  for (const Row& row : seen.touched) {
    Statistic& statistic = (*counted)[row];
    if (statistic.last != step) ++statistic.count;
    statistic.last = step;
  }
}

// The forwards of one worker that trains and evaluates, from `first_step` on.
void CheckAlone(const Recorder& recorder, Counted* counted, Step first_step = 1) {
  Step applied = first_step - 1;
  for (const Seen& seen : recorder.seen) {
    CheckSeen(seen, *counted, applied);
    if (!seen.training) continue;
    ++applied;
    Count(seen, applied, counted);
  }
}

TEST_CASE("a model sees exact counts and ages on any layout, and trains to the same bits") {
  const TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 600});
  WriteWorld(dir / "valid.csv", {.rows = 150, .num_users = 60, .seed = 2});
  const bool exact = GENERATE(false, true);
  CAPTURE(exact);
  const auto run = [&](const std::string& name, Recorder* recorder, int num_servers,
                       int64_t pull_ahead) {
    TrainerOptions options = Job(dir, name, recorder);
    options.pull_ahead = pull_ahead;
    if (exact) {
      options.sparse.optimizer.set_kind("adam");
      options.sparse.optimizer.set_beta1(0.9f);
      options.sparse.optimizer.set_beta2(0.999f);
      options.sparse.optimizer.set_exact(true);
    }
    options.evaluation.data.files = {dir / "valid.csv"};
    options.evaluation.every_steps = 7;
    const RunTrace trace = RunAlone(options, num_servers);
    INFO(trace.status);
    REQUIRE(trace.status.ok());
    return trace;
  };
  Recorder one;
  const RunTrace trace = run("one", &one, 1, 1);
  REQUIRE(trace.losses.size() == 20);  // Two passes over 10 batches.
  Counted counted;
  CheckAlone(one, &counted);
  uint32_t most = 0;
  Step oldest = 0;
  for (const auto& [row, statistic] : counted) {
    most = std::max(most, statistic.count);
    oldest = std::max(oldest, 20 - statistic.last);
  }
  CHECK(most == 20);  // Or the test shows less than it should:
  CHECK(oldest > 3);  // rows in every batch, rows long not seen,
  CHECK(std::any_of(one.seen.begin(), one.seen.end(), [](const Seen& seen) {
    return std::any_of(seen.rows.begin(), seen.rows.end(),
                       [](const auto& row) { return row.second.second == -1.0f; });
  }));  // and rows that are not there.
  for (const auto& [servers, pull_ahead] : {std::pair(2, 1), std::pair(3, 0)}) {
    CAPTURE(servers, pull_ahead);
    Recorder other;
    CHECK(run(absl::StrCat("other", servers), &other, servers, pull_ahead).losses == trace.losses);
    Counted again;
    CheckAlone(other, &again);
    CHECK(again == counted);
  }
}

TEST_CASE("a GPU that keeps rows sees the statistics that the CPU sees") {
  const Device gpu{DeviceKind::kEmulated, 0};
  ThreadPool pool(1);
  if (!Context::Create(gpu, &pool).ok()) return;  // Not in this build.
  const TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 600});
  Recorder recorder;
  TrainerOptions options = Job(dir, "gpu", &recorder);
  options.device = gpu;
  options.device_cache_bytes = 1 << 16;
  const RunTrace run = RunAlone(options, 2);
  INFO(run.status);
  REQUIRE(run.status.ok());
  CHECK(run.result.copied_ahead > 0);
  CHECK(run.result.row_cache.lookups == 0);  // Tables with statistics stay out of it.
  Counted counted;
  CheckAlone(recorder, &counted);
  CHECK(!counted.empty());
}

TEST_CASE("two workers on two servers see what both have pushed, once a step") {
  const TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 600});
  Recorder recorders[2];
  const std::vector<RunTrace> runs =
      RunTogether({Job(dir, "two", &recorders[0]), Job(dir, "two", &recorders[1])}, 2);
  for (const RunTrace& run : runs) {
    INFO(run.status);
    REQUIRE(run.status.ok());
  }
  const std::vector<Seen> a = recorders[0].training(), b = recorders[1].training();
  REQUIRE(a.size() == runs[0].losses.size());
  REQUIRE(a.size() == b.size());
  Counted counted;
  for (size_t t = 0; t < a.size(); ++t) {
    const auto step = static_cast<Step>(t + 1);
    for (const Seen* seen : {&a[t], &b[t]}) CheckSeen(*seen, counted, step - 1);
    for (const Seen* seen : {&a[t], &b[t]}) Count(*seen, step, &counted);
  }
}

TEST_CASE("a resumed job and a prediction go on with the cut's counts and ages") {
  const TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 600});
  Recorder before, after, reading;
  TrainerOptions options = Job(dir, "job", &before);
  RunOptions stop, go_on;
  stop.stop_after = 8;
  const RunTrace stopped = RunAlone(options, 2, stop);
  INFO(stopped.status);
  REQUIRE(stopped.status.ok());
  Counted counted;
  CheckAlone(before, &counted);
  options = Job(dir, "job", &after);
  go_on.resume_cut = stopped.result.final_cut;
  const RunTrace resumed = RunAlone(options, 2, go_on);
  INFO(resumed.status);
  REQUIRE(resumed.status.ok());
  REQUIRE(after.seen.size() == 12);
  CheckAlone(after, &counted, 9);

  ServerGroup servers(dir / "job", 2);
  const auto client = servers.MakeClient();
  options = Job(dir, "job", &reading);
  const auto trained = TrainedModel::Load(resumed.result.final_cut, options, client.get());
  INFO(trained.status());
  REQUIRE(trained.ok());
  ScoreOptions score;
  score.data.files = {dir / "train.csv"};
  score.schema = options.schema;
  score.batch_size = 50;
  bool as_outputs = true;
  REQUIRE((*trained)
              ->Score(score,
                      [&](const Batch& batch, const BatchScores* made) {
                        const Seen& seen = reading.seen.back();
                        REQUIRE(made->outputs.at(0).name == "count.user");
                        for (size_t i = 0; i < static_cast<size_t>(batch.size); ++i) {
                          const Row user = {0, batch.IdsOf(0, static_cast<int64_t>(i))[0]};
                          as_outputs = as_outputs &&
                                       made->outputs[0].values[i] == seen.rows.at(user).first &&
                                       made->outputs[1].values[i] == seen.rows.at(user).second;
                        }
                        return absl::OkStatus();
                      })
              .ok());
  CHECK(as_outputs);
  REQUIRE(reading.seen.size() == 12);
  for (const Seen& seen : reading.seen) CheckSeen(seen, counted, 20);
}

TEST_CASE("rows that a stage took over count as pushed once at its start; frozen ones stay so") {
  const TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 600});
  Recorder source, next;
  TrainerOptions options = Job(dir, "source", &source);
  options.job = "source";
  options.stages[0].steps_max = 5;
  const RunTrace first = RunAlone(options, 1);
  INFO(first.status);
  REQUIRE(first.status.ok());
  REQUIRE(WriteFinished(dir / "source", first.result.final_cut).ok());
  Counted counted;
  CheckAlone(source, &counted);

  options = Job(dir, "next", &next);
  options.start.stage = "next";
  options.start.from = dir / "source";
  options.start.load = {"user", "item"};
  options.stages[0].freeze = {"item"};
  const RunTrace second = RunAlone(options, 2);
  INFO(second.status);
  REQUIRE(second.status.ok());
  Counted taken;
  for (const auto& [row, statistic] : counted) {
    if (row.first < 2) taken[row] = {1, 0};
  }
  for (Seen& seen : next.seen) {  // Items are not pushed to.
    std::erase_if(seen.touched, [](const Row& row) { return row.first == 1; });
  }
  CheckAlone(next, &taken);
  CHECK(taken.size() > counted.size());
}

TEST_CASE("async: counts and ages lag behind no more than the pushes that may be under way") {
  const TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 600});
  Recorder recorder;
  TrainerOptions options = Job(dir, "async", &recorder);
  options.mode = "async";
  options.pull_ahead = 2;
  options.pushes_in_flight = 2;
  const RunTrace run = RunAlone(options, 1);
  INFO(run.status);
  REQUIRE(run.status.ok());
  Counted counted;
  Step applied = 0;
  for (const Seen& seen : recorder.seen) {
    for (const auto& [row, got] : seen.rows) {
      const auto found = counted.find(row);
      const float count = found == counted.end() ? 0.0f : static_cast<float>(found->second.count);
      CAPTURE(row.first, row.second, applied, count);
      REQUIRE(got.first <= count);
      REQUIRE(got.first >= count - 5.0f);
      REQUIRE(got.second >= (got.first == 0.0f ? -1.0f : 0.0f));
      REQUIRE(got.second <= static_cast<float>(applied));
    }
    Count(seen, ++applied, &counted);
  }
}

}  // namespace
}  // namespace pagoda

#include "worker/step_computation.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "tests/worker/training_world.h"
#include "worker/batch_reader.h"

namespace pagoda {
namespace {

// The first batch of a small world with rows drawn for it.
struct Fixture {
  TemporaryDirectory dir;
  std::unique_ptr<ModelInstance> model;
  StageTimes times;
  std::unique_ptr<AllReduce> alone = SingleWorker();
  std::unique_ptr<StepComputation> computation;
  PulledBatch batch;

  explicit Fixture(const std::function<void(TrainerOptions&)>& change = nullptr) {
    WriteWorld(dir / "train.csv", {.rows = 32});
    TrainerOptions options = SmallJob("deepfm", dir / "train.csv", dir / "out");
    options.dense.args.kind = DenseOptimizerKind::kSgd;
    options.dense.args.learning_rate = 0.1f;
    if (change) change(options);
    model = *ModelInstance::Create(options);
    computation = *StepComputation::Create(model.get(), alone.get(), &times);
    ReaderOptions reader;
    reader.data = options.stages[0].data;
    reader.schema = options.schema;
    reader.batch_size = 32;
    auto opened = BatchReader::Open(reader);
    REQUIRE(opened.ok());
    Batch read = **(*opened)->Next();
    batch.data = std::make_unique<PrefetchedBatch>();
    batch.data->prepared = *PrepareBatch(options.schema, model->declaration(), std::move(read));
    for (size_t table = 0; table < model->tables().size(); ++table) {
      std::vector<float>& rows = batch.rows.emplace_back();
      const size_t size =
          batch.data->prepared.unique_ids[table].size() * static_cast<size_t>(model->dim(table));
      for (size_t i = 0; i < size; ++i) {
        rows.push_back(0.1f * RandomNormal(RandomKey{table}, i));
      }
    }
  }
  double Loss() {
    REQUIRE(computation->Forward(batch, 1).ok());
    const auto loss = computation->SumLosses();
    REQUIRE(loss.ok());
    REQUIRE(loss->finite);
    return loss->value;
  }
};

TEST_CASE("row gradients are those of the mean loss") {
  Fixture f([](TrainerOptions& options) {  // Smooth: no kinks under a wide difference.
    options.model = "fm";
    options.model_options = SmallModel("fm");
  });
  f.Loss();
  RowGradients rows;
  REQUIRE(f.computation->Backward(&rows).ok());
  REQUIRE(rows.ids == f.batch.data->prepared.unique_ids);
  for (size_t table = 0; table < rows.ids.size(); ++table) {
    for (size_t i = 0; i < std::min<size_t>(3, f.batch.rows[table].size()); ++i) {
      CAPTURE(table, i);
      constexpr float kStep = 1e-2f;
      float& value = f.batch.rows[table][i];
      const float kept = value;
      value = kept + kStep;
      const double above = f.Loss();
      value = kept - kStep;
      const double below = f.Loss();
      value = kept;
      REQUIRE(rows.gradients[table][i] ==
              Approx((above - below) / (2.0 * kStep)).margin(2e-5).epsilon(0.02));
    }
  }
}

TEST_CASE("a step lowers the loss, and reports its samples and norm") {
  Fixture f;
  const double before = f.Loss();
  RowGradients rows;
  REQUIRE(f.computation->Backward(&rows).ok());
  std::string culprit;
  REQUIRE(*f.computation->SumGradients(rows, &culprit));
  REQUIRE(culprit.empty());
  const auto norm = f.computation->ApplyDense(1.0);
  REQUIRE(norm.ok());
  REQUIRE(*norm > 0.0);
  REQUIRE(f.Loss() < before);
  REQUIRE(f.times.forward > 0.0);
  REQUIRE(f.times.dense > 0.0);
}

TEST_CASE("a frozen table gives neither ids nor gradients") {
  Fixture f([](TrainerOptions& options) { options.stages[0].frozen_tables = {"user"}; });
  f.Loss();
  RowGradients rows;
  REQUIRE(f.computation->Backward(&rows).ok());
  for (size_t table = 0; table < rows.ids.size(); ++table) {
    REQUIRE(rows.ids[table].empty() == (f.model->tables()[table].name() == "user"));
  }
}

TEST_CASE("a row that is not finite is found in the loss, with the samples that use it") {
  Fixture f;
  f.batch.rows[0][1] = std::nanf("");
  REQUIRE(f.computation->Forward(f.batch, 1).ok());
  const auto loss = f.computation->SumLosses();
  REQUIRE(loss.ok());
  REQUIRE_FALSE(loss->finite);
  REQUIRE_THAT(loss->culprit, Catch::Matchers::Contains("train.csv:"));
  REQUIRE(f.computation->Undo().ok());
}

TEST_CASE("a gradient that is not finite is named by table, id, feature and line") {
  Fixture f;
  f.Loss();
  RowGradients rows;
  REQUIRE(f.computation->Backward(&rows).ok());
  const FeatureId id = rows.ids[0][2];
  rows.gradients[0][2 * static_cast<size_t>(f.model->dim(0))] = INFINITY;
  std::string culprit;
  REQUIRE_FALSE(*f.computation->SumGradients(rows, &culprit));
  REQUIRE_THAT(culprit, Catch::Matchers::Contains("'" + f.model->tables()[0].name() + "', id " +
                                                  std::to_string(id)));
  REQUIRE_THAT(culprit,
               Catch::Matchers::Contains("feature '") && Catch::Matchers::Contains("train.csv:"));
}

TEST_CASE("optimizer slots go out and come back; others are refused") {
  Fixture f([](TrainerOptions& options) { options.dense.args.kind = DenseOptimizerKind::kAdam; });
  f.Loss();
  RowGradients rows;
  REQUIRE(f.computation->Backward(&rows).ok());
  REQUIRE(f.computation->ApplyDense(1.0).ok());
  auto slots = f.computation->SlotValues();
  REQUIRE(slots.ok());
  REQUIRE(slots->size() == 2);
  REQUIRE((*slots)[0] != std::vector<float>((*slots)[0].size(), 0.0f));
  (*slots)[1][3] = 5.0f;
  REQUIRE(f.computation->SetSlotValues(*slots).ok());
  REQUIRE(*f.computation->SlotValues() == *slots);
  (*slots)[1].pop_back();
  REQUIRE(absl::IsFailedPrecondition(f.computation->SetSlotValues(*slots)));
  slots->pop_back();
  REQUIRE(absl::IsFailedPrecondition(f.computation->SetSlotValues(*slots)));
}

}  // namespace
}  // namespace pagoda

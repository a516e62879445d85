#include "worker/dense_sync.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <thread>

#include "tests/worker/thread_allreduce.h"
#include "tests/worker/training_world.h"

namespace pagoda {
namespace {

// A worker with batch norm (so that there is state), gradients 100 * rank + i, and
// state 10 * rank + i.
struct Worker {
  std::unique_ptr<ModelInstance> model;
  std::vector<float> gradients, state;
  DenseSync::Outcome outcome;
  absl::Status status;

  explicit Worker(int rank, const std::vector<std::string>& frozen_groups = {},
                  DeviceKind kind = DeviceKind::kCpu) {
    TrainerOptions options = SmallJob("dnn", "/data.csv", "/out");
    options.device = {kind, 0};
    REQUIRE(options.model_options.Set("batch_norm", true).ok());
    options.stages[0].frozen_groups = frozen_groups;
    auto created = ModelInstance::Create(options);
    REQUIRE(created.ok());
    model = *std::move(created);
    const ParameterSet& parameters = model->parameters();
    for (int64_t i = 0; i < parameters.num_trainable(); ++i) {
      gradients.push_back(static_cast<float>(100 * rank + i));
    }
    for (int64_t i = parameters.num_trainable(); i < parameters.num_elements(); ++i) {
      state.push_back(static_cast<float>(10 * rank + i));
    }
    REQUIRE(state.size() > 10);
  }
  // Before the step: state 0. Then forward and backward leave the planted numbers.
  absl::Status Plant(DenseSync& sync) {
    PAGODA_RETURN_IF_ERROR(sync.Connect());
    PAGODA_RETURN_IF_ERROR(SetState(std::vector<float>(state.size(), 0.0f)));
    PAGODA_RETURN_IF_ERROR(sync.SaveState());
    PAGODA_RETURN_IF_ERROR(SetState(state));
    PAGODA_RETURN_IF_ERROR(model->ctx().CopyFromHost(gradients.data(), Bytes(gradients),
                                                     model->parameters().gradients()));
    if (!sync.overlaps()) return absl::OkStatus();
    // As backward does; the first parameter is left for the end.
    for (size_t d = model->parameters().decls().size(); d-- > 1;) {
      const DenseHandle handle{static_cast<int>(d)};
      if (!model->parameters().learns(handle)) continue;
      PAGODA_RETURN_IF_ERROR(sync.GradientFinal(handle));
    }
    return absl::OkStatus();
  }
  absl::Status SetState(const std::vector<float>& values) {
    PAGODA_ASSIGN_OR_RETURN(std::vector<float> all, model->DenseValues());
    std::copy(values.begin(), values.end(), all.begin() + static_cast<int64_t>(gradients.size()));
    return model->SetDenseValues(all);
  }
  std::vector<float> State() {
    const std::vector<float> all = *model->DenseValues();
    return {all.begin() + static_cast<int64_t>(gradients.size()), all.end()};
  }
  std::vector<float> Gradients() {
    std::vector<float> host(gradients.size());
    REQUIRE(
        model->ctx().CopyToHost(model->parameters().gradients(), host.data(), Bytes(host)).ok());
    return host;
  }
  static int64_t Bytes(const std::vector<float>& values) {
    return static_cast<int64_t>(values.size() * sizeof(float));
  }
};

void SumTogether(std::vector<std::unique_ptr<Worker>>& workers, const std::vector<int64_t>& samples,
                 const std::vector<bool>& rows_finite) {
  ThreadAllReduceGroup group(static_cast<int>(workers.size()));
  std::vector<std::thread> threads;
  for (size_t r = 0; r < workers.size(); ++r) {
    threads.emplace_back([&, r] {
      Worker& worker = *workers[r];
      ThreadAllReduce allreduce(&group, static_cast<int>(r));
      DenseSync sync(worker.model.get(), &allreduce);
      worker.status = worker.Plant(sync);
      auto outcome = sync.Sum(samples[r], rows_finite[r]);
      if (outcome.ok()) {
        worker.outcome = *outcome;
      } else {
        worker.status = outcome.status();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& worker : workers) REQUIRE(worker->status.ok());
}

// On the CPU, and where there is one on the emulated GPU, whose gradients go by themselves.
DeviceKind AnyDevice() {
#if defined(PAGODA_GPU_EMULATED)
  return GENERATE(DeviceKind::kCpu, DeviceKind::kEmulated);
#else
  return DeviceKind::kCpu;
#endif
}

std::vector<std::unique_ptr<Worker>> Workers(int n, const std::vector<std::string>& frozen = {}) {
  const DeviceKind kind = AnyDevice();
  std::vector<std::unique_ptr<Worker>> workers;
  for (int r = 0; r < n; ++r) workers.push_back(std::make_unique<Worker>(r, frozen, kind));
  return workers;
}

#if defined(PAGODA_GPU_EMULATED)
TEST_CASE("workers on devices of two kinds are refused in words") {
  std::vector<std::unique_ptr<Worker>> workers;
  workers.push_back(std::make_unique<Worker>(0));
  workers.push_back(std::make_unique<Worker>(1, std::vector<std::string>{}, DeviceKind::kEmulated));
  ThreadAllReduceGroup group(2);
  std::vector<std::thread> threads;
  for (size_t r = 0; r < workers.size(); ++r) {
    threads.emplace_back([&, r] {
      ThreadAllReduce allreduce(&group, static_cast<int>(r));
      DenseSync sync(workers[r]->model.get(), &allreduce);
      workers[r]->status = sync.Connect();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& worker : workers) {
    REQUIRE(absl::IsFailedPrecondition(worker->status));
    REQUIRE_THAT(std::string(worker->status.message()),
                 Catch::Contains("worker 0 trains on the CPU and worker 1 on the emulated GPU"));
  }
}
#endif

TEST_CASE("gradients add up, state is averaged by samples, and all workers agree") {
  auto workers = Workers(3);
  SumTogether(workers, {10, 0, 30}, {true, true, true});  // Worker 1 has no data.
  for (const auto& worker : workers) {
    REQUIRE(worker->outcome.finite);
    const std::vector<float> gradients = worker->Gradients(), state = worker->State();
    for (size_t i = 0; i < gradients.size(); ++i) {
      REQUIRE(gradients[i] == 300.0f + 3.0f * static_cast<float>(i));
    }
    for (size_t i = 0; i < state.size(); ++i) {
      const double mean = (10.0 * workers[0]->state[i] + 30.0 * workers[2]->state[i]) / 40.0;
      REQUIRE(state[i] == Approx(mean).epsilon(1e-6));
    }
    REQUIRE(state == workers[0]->State());
  }
}

TEST_CASE("one worker keeps its gradient and state as they are") {
  auto workers = Workers(1);
  SumTogether(workers, {10}, {true});
  REQUIRE(workers[0]->outcome.finite);
  REQUIRE(workers[0]->Gradients() == workers[0]->gradients);
  REQUIRE(workers[0]->State() == workers[0]->state);
}

TEST_CASE("frozen state keeps its bits on several workers") {
  auto workers = Workers(3, {"default"});
  SumTogether(workers, {10, 7, 30}, {true, true, true});
  for (const auto& worker : workers) {
    REQUIRE(worker->State() == std::vector<float>(worker->state.size(), 0.0f));
  }
}

TEST_CASE("anything not finite anywhere is not finite for everyone; the culprit is named at home") {
  const float bad =
      GENERATE(std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity());
  enum class Where { kGradient, kState, kRows };
  const Where where = GENERATE(Where::kGradient, Where::kState, Where::kRows);
  CAPTURE(bad, static_cast<int>(where));
  auto workers = Workers(2);
  if (where == Where::kGradient) workers[1]->gradients.back() = bad;
  if (where == Where::kState) workers[1]->state.back() = bad;
  SumTogether(workers, {5, 5}, {true, where != Where::kRows});
  REQUIRE_FALSE(workers[0]->outcome.finite);
  REQUIRE_FALSE(workers[1]->outcome.finite);
  if (where != Where::kRows) {
    REQUIRE_THAT(workers[1]->outcome.culprit, Catch::Matchers::Contains("'"));
  }
}

TEST_CASE("a sum that overflows is not finite, though every part was") {
  auto workers = Workers(2);
  for (const auto& worker : workers) worker->gradients[0] = 3e38f;
  SumTogether(workers, {5, 5}, {true, true});
  for (const auto& worker : workers) REQUIRE_FALSE(worker->outcome.finite);
}

TEST_CASE("a restored state is the one from before the step") {
  Worker worker(0);
  const auto alone = SingleWorker();
  DenseSync sync(worker.model.get(), alone.get());
  REQUIRE(worker.Plant(sync).ok());
  REQUIRE(sync.RestoreState().ok());
  REQUIRE(worker.State() == std::vector<float>(worker.state.size(), 0.0f));
}

}  // namespace
}  // namespace pagoda

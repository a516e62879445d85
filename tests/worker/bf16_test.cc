// A first step whose products read bf16 beside the same step in f32 (StepComputation,
// worker/step_computation.h).

#include <catch2/catch.hpp>
#include <cmath>

#include "tests/worker/training_world.h"
#include "worker/batch_reader.h"
#include "worker/step_computation.h"

namespace pagoda {
namespace {

struct Gradients {
  std::vector<float> dense;
  std::vector<std::vector<float>> rows;  // Per table.
};

// Of the first batch, with parameters and rows as they are initialised.
Gradients FirstStep(TrainerOptions options, Device device, DType dtype) {
  options.device = device;
  options.compute_dtype = dtype;
  const auto model = *ModelInstance::Create(options);
  const auto alone = SingleWorker();
  StageTimes times;
  const auto computation = *StepComputation::Create(model.get(), alone.get(), &times);
  ReaderOptions reader;
  reader.data = options.stages[0].data;
  reader.schema = options.schema;
  reader.batch_size = options.batch_size;
  const auto opened = *BatchReader::Open(reader);
  Batch read = **opened->Next();
  PulledBatch batch;
  batch.data = std::make_unique<PrefetchedBatch>();
  batch.data->prepared = *PrepareBatch(options.schema, model->declaration(), std::move(read));
  for (size_t table = 0; table < model->tables().size(); ++table) {
    std::vector<float>& rows = batch.rows.emplace_back();
    const size_t size =
        batch.data->prepared.unique_ids[table].size() * static_cast<size_t>(model->dim(table));
    for (size_t i = 0; i < size; ++i) rows.push_back(0.05f * RandomNormal(RandomKey{table}, i));
  }
  REQUIRE(computation->Forward(batch, 1).ok());
  REQUIRE(computation->SumLosses()->finite);
  RowGradients rows;
  REQUIRE(computation->Backward(&rows).ok());
  std::string culprit;
  REQUIRE(*computation->SumGradients(rows, &culprit));
  Gradients gradients;
  gradients.dense.resize(static_cast<size_t>(model->parameters().num_trainable()));
  REQUIRE(model->ctx()
              .CopyToHost(model->parameters().gradients(), gradients.dense.data(),
                          model->parameters().num_trainable() * 4)
              .ok());
  for (size_t table = 0; table < rows.ids.size(); ++table) {
    const size_t size = rows.ids[table].size() * static_cast<size_t>(model->dim(table));
    gradients.rows.emplace_back(rows.gradients[table].begin(),
                                rows.gradients[table].begin() + static_cast<ptrdiff_t>(size));
  }
  return gradients;
}

// The norm of the difference, over the norm of `want`.
double NormwiseError(const std::vector<float>& got, const std::vector<float>& want) {
  REQUIRE(got.size() == want.size());
  double difference = 0.0, norm = 0.0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference += std::pow(double{got[i]} - double{want[i]}, 2.0);
    norm += std::pow(double{want[i]}, 2.0);
  }
  REQUIRE(norm > 0.0);
  return std::sqrt(difference / norm);
}

TEST_CASE("one step's gradients in bf16 are within 2^-7 of those in f32, normwise") {
  std::vector<Device> devices = {{DeviceKind::kCpu, 0}};
#if defined(PAGODA_GPU_EMULATED)
  devices.push_back({DeviceKind::kEmulated, 0});
#endif
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 1000});
  for (const char* model : {"deepfm", "dcnv2", "dlrm", "two_tower"}) {
    TrainerOptions options = SmallJob(model, dir / "train.csv", dir / "out");
    options.batch_size = 500;
    if (std::string(model) == "two_tower") {
      using Names = std::vector<std::string>;
      REQUIRE(options.model_options.Set("user_features", Names{"user", "age"}).ok());
      REQUIRE(options.model_options.Set("item_features", Names{"item", "tags"}).ok());
    }
    // At ReLU's kink the last bit of a product turns a unit on or off.
    (void)options.model_options.Set("activation", std::string("tanh"));
    const Gradients f32 = FirstStep(options, {}, DType::kF32);
    for (const Device device : devices) {
      const Gradients bf16 = FirstStep(options, device, DType::kBF16);
      const double dense = NormwiseError(bf16.dense, f32.dense);
      CAPTURE(model, static_cast<int>(device.kind), dense);
      CHECK(dense > 1e-5);  // It was bf16.
      CHECK(dense <= 0x1p-7);
      for (size_t table = 0; table < f32.rows.size(); ++table) {
        const double rows = NormwiseError(bf16.rows[table], f32.rows[table]);
        CAPTURE(table, rows);
        CHECK(rows <= 0x1p-7);
      }
    }
  }
}

}  // namespace
}  // namespace pagoda

#include "algorithms/nn/step_upload.h"

#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

std::vector<float> Everything(const StepResult& step) {
  std::vector<float> all = step.dense_gradients;
  all.insert(all.end(), step.predictions.begin(), step.predictions.end());
  all.insert(all.end(), step.dense_values.begin(), step.dense_values.end());
  for (const std::vector<float>& rows : step.row_gradients) {
    all.insert(all.end(), rows.begin(), rows.end());
  }
  for (const LossValue& loss : step.losses) all.push_back(static_cast<float>(loss.sum));
  return all;
}

TEST_CASE("a step whose batch was copied ahead, some of its rows refreshed, has the same bits") {
  // Rows in columns (deepfm, wide_deep), several groups, no numbers, no predictions.
  const Options towers = {{"user_features", std::vector<std::string>{"user", "friends"}},
                          {"item_features", std::vector<std::string>{"item", "genres"}}};
  for (const char* model : {"deepfm", "wide_deep", "dlrm", "dcnv2", "two_tower"}) {
    const bool retrieval = std::string(model) == "two_tower";
    const ModelHarness harness(model, retrieval ? towers : Options(), SmallSchema(!retrieval));
    for (const int64_t size : {0, 1, 2, 333}) {
      CAPTURE(model, size);
      const Batch batch = SmallBatch(harness.schema(), size, 1);
      RunEverywhere([&](TestDevice& device) {
        const std::vector<float> want = Everything(harness.Run(device, batch));
        const std::vector<float> got =
            Everything(harness.Run(device, batch, {.copied_ahead = true}));
        REQUIRE(SameBits(got, want));
        return got;
      });
    }
  }
}

TEST_CASE("columns that were not copied ahead are copied when they are asked for") {
  TestDevice device;
  const ModelHarness harness("deepfm", {}, SmallSchema(true));
  const PreparedBatch batch = harness.Prepare(SmallBatch(harness.schema(), 5, 1));
  auto queue = CopyQueue::Create(*device.ctx);
  REQUIRE(queue.ok());
  std::vector<std::vector<float>> rows;
  std::vector<const float*> hosts;
  for (size_t t = 0; t < batch.unique_ids.size(); ++t) {
    const auto dim = static_cast<size_t>(harness.declaration().tables[t].dim);
    rows.emplace_back(batch.unique_ids[t].size() * dim, 1.0f);
    hosts.push_back(rows.back().data());
  }
  auto upload = StepUpload::Start(**queue, batch, hosts, {{0, 0, 1}});
  REQUIRE(upload.ok());
  REQUIRE((*upload)->Publish(*device.ctx, **queue).ok());
  REQUIRE_FALSE((*upload)->Rows({0, 0, 1}).absent());
  REQUIRE((*upload)->Rows({0, 0, 2}).absent());
  RequireInvalid(StepUpload::Start(**queue, batch, hosts, {{0, 0, 1000}}).status(),
                 "columns [0, 1000) do not lie within rows");
}

}  // namespace
}  // namespace pagoda

#include <set>

#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

// What a model needs beyond its defaults to accept SmallSchema.
Options Needed(const std::string& model) {
  using Names = std::vector<std::string>;
  if (model == "two_tower") {
    return {{"user_features", Names{"user"}}, {"item_features", Names{"item"}}};
  }
  if (model == "usd") {  // Its tower alone.
    return {{"sampling", std::string("none")},
            {"debias_portal", false},
            {"debias_block", false},
            {"activity", std::string()}};
  }
  if (model == "din") {  // Dice has statistics of its own and takes no batch_norm.
    return {{"targets", Names{"item"}},
            {"sequences", Names{"history"}},
            {"activation", std::string("tanh")}};
  }
  if (model == "msnet") {
    return {{"arm", std::string("meta")},           {"sides", Names{"genres"}},
            {"stock", std::string("friends")},      {"history_item", std::string("past_item")},
            {"history_sides", Names{"past_genre"}}, {"history_stock", std::string("past_friend")}};
  }
  if (model == "lrea") {  // With its one loss that does not depend on options.
    return {{"candidate", Names{"item"}}, {"sequence", Names{"past_item"}}, {"lambda", 0.0}};
  }
  return {};
}

// SmallSchema, and histories for those that need them.
FeatureSchema SchemaFor(const std::string& model, bool numeric) {
  FeatureSchema schema = SmallSchema(numeric);
  if (model == "din" || model == "sasrec" || model == "gpsd") {
    schema.features.push_back(HistoryFeature("history", "item", 4));
  }
  if (model != "msnet" && model != "lrea") return schema;
  schema.features.push_back(HistoryFeature("past_item", "item", 4));
  schema.features.push_back(HistoryFeature("past_genre", "genres", 4));
  schema.features.push_back(HistoryFeature("past_friend", "user", 4));
  return schema;
}

absl::Status DeclareWith(const ModelInfo& info, const Options& options,
                         const FeatureSchema& schema) {
  ModelOptions model_options(info.options);
  for (const auto& [key, value] : options) {
    PAGODA_RETURN_IF_ERROR(model_options.Set(key, value));
  }
  Declaration declaration;
  return info.create(model_options)->Declare(schema, declaration);
}

bool HasOption(const ModelInfo& info, const std::string& key) {
  for (const OptionSpec& spec : info.options) {
    if (spec.key == key) return true;
  }
  return false;
}

TEST_CASE("every model has its own name, a summary, and documented options") {
  std::set<std::string> names;
  for (const ModelInfo& info : AllModels()) {
    CAPTURE(info.name);
    REQUIRE(names.insert(info.name).second);
    REQUIRE_FALSE(info.summary.empty());
    std::set<std::string> keys;
    for (const OptionSpec& spec : info.options) {
      CAPTURE(spec.key);
      REQUIRE(keys.insert(spec.key).second);
      REQUIRE(spec.help.size() > 10);
      REQUIRE(spec.help.back() == '.');
    }
    REQUIRE(*FindModel(info.name) == &info);
  }
  REQUIRE(names == std::set<std::string>{"lr", "fm", "dnn", "wide_deep", "deepfm", "dlrm", "dcn",
                                         "dcnv2", "two_tower", "usd", "msnet", "usm", "lrea", "din",
                                         "sasrec", "gpsd"});
}

TEST_CASE("an unknown model is NOT_FOUND and names the nearest") {
  const absl::Status status = FindModel("depfm").status();
  REQUIRE(status.code() == absl::StatusCode::kNotFound);
  REQUIRE(status.message() == "unknown model 'depfm'; did you mean 'deepfm'?");
  REQUIRE(FindModel("transformer").status().message() == "unknown model 'transformer'");
}

TEST_CASE("every model trains one step with its default options, on large and empty batches") {
  for (const ModelInfo& info : AllModels()) {
    for (bool numeric : {true, false}) {
      CAPTURE(info.name, numeric);
      const ModelHarness harness(info, Needed(info.name), SchemaFor(info.name, numeric));
      for (int64_t size : {0, 33}) {
        TestDevice device;
        const StepResult step = harness.Run(device, SmallBatch(harness.schema(), size, 1));
        REQUIRE(step.losses.size() == 1);
        REQUIRE(std::isfinite(step.losses[0].sum));
        for (float g : step.dense_gradients) REQUIRE(std::isfinite(g));
      }
    }
  }
}

TEST_CASE("every model gives the same step on a device whose memory the host cannot read") {
  for (const ModelInfo& info : AllModels()) {
    CAPTURE(info.name);
    Options options = Needed(info.name);
    if (HasOption(info, "batch_norm")) options["batch_norm"] = true;
    if (HasOption(info, "dropout")) options["dropout"] = 0.3;
    if (HasOption(info, "l2")) options["l2"] = 0.1;
    const ModelHarness harness(info, options, SchemaFor(info.name, true));
    const Batch batch = SmallBatch(harness.schema(), 19, 1);
    RunEverywhere([&](TestDevice& device) {
      const StepResult step = harness.Run(device, batch);
      std::vector<float> all = step.dense_gradients;
      for (const std::vector<float>* more :
           {&step.predictions, &step.embeddings.user, &step.embeddings.item, &step.dense_values}) {
        all.insert(all.end(), more->begin(), more->end());
      }
      for (const std::vector<float>& rows : step.row_gradients) {
        all.insert(all.end(), rows.begin(), rows.end());
      }
      return all;
    });
  }
}

TEST_CASE("every model refuses options out of range, by name") {
  struct Bad {
    std::string key;
    OptionValue value;
    std::string word;
  };
  const std::vector<Bad> bads = {
      {"embedding_dim", int64_t{0}, "'embedding_dim' is 0"},
      {"embedding_dim", int64_t{5000}, "'embedding_dim' is 5000"},
      {"hidden", std::vector<int64_t>{8, 0}, "'hidden' holds 0"},
      {"bottom_hidden", std::vector<int64_t>{-1}, "'bottom_hidden' holds -1"},
      {"activation", std::string("rellu"), "relu"},
      {"dropout", 1.0, "'dropout' is 1"},
      {"l2", -0.5, "'l2' is -0.5"},
      {"cross_layers", int64_t{0}, "'cross_layers' is 0"},
      {"low_rank", int64_t{-1}, "'low_rank' is -1"},
      {"structure", std::string("sideways"), "'sideways'"},
  };
  int tried = 0;
  for (const ModelInfo& info : AllModels()) {
    for (const Bad& bad : bads) {
      if (!HasOption(info, bad.key)) continue;
      CAPTURE(info.name, bad.key);
      Options options = Needed(info.name);
      options[bad.key] = bad.value;
      RequireInvalid(DeclareWith(info, options, SchemaFor(info.name, true)), bad.word);
      ++tried;
    }
  }
  REQUIRE(tried > 40);
}

TEST_CASE("every model refuses a schema without the features it needs") {
  FeatureSchema numeric_only = SmallSchema(true);
  std::erase_if(numeric_only.features, [](const FeatureSpec& spec) { return spec.sparse(); });
  for (const ModelInfo& info : AllModels()) {
    CAPTURE(info.name);
    RequireInvalid(DeclareWith(info, Needed(info.name), FeatureSchema()), "");
    const absl::Status status = DeclareWith(info, Needed(info.name), numeric_only);
    const bool takes_numbers =
        info.name == "lr" || info.name == "dnn" || info.name == "dcn" || info.name == "dcnv2";
    INFO(status);
    REQUIRE(status.ok() == takes_numbers);
  }
}

}  // namespace
}  // namespace pagoda

#include "worker/evaluation.h"

#include <catch2/catch.hpp>
#include <map>

#include "base/random.h"
#include "worker/metrics.h"

namespace pagoda {
namespace {

using Catch::Matchers::Contains;

std::map<std::string, double> ByName(const EvaluationResult& result) {
  std::map<std::string, double> metrics;
  for (const NamedMetric& metric : result.more) metrics[metric.name] = metric.value;
  return metrics;
}

TEST_CASE("pairs and slices are the metrics of their rows") {
  constexpr size_t kRows = 200;
  FeatureSchema schema;
  schema.targets = {"buy"};
  schema.slices = {"where"};
  const auto pairs = ParsePairs({"cvr:buy", "score:buy", "cvr:label"}, schema);
  REQUIRE(pairs.ok());
  ScoredRows rows;
  rows.outputs.resize(3);
  rows.targets.resize(1);
  rows.slices.resize(1);
  rows.slice_values = {{"top", "left", ""}};
  std::vector<std::vector<float>> scores(3), labels(3), weights(3);
  for (size_t i = 0; i < kRows; ++i) {
    const auto draw = [&](uint64_t k) { return RandomUniform(RandomKey{k}, i); };
    rows.scores.push_back(draw(1));
    rows.labels.push_back(draw(2) < rows.scores[i] ? 1.0f : 0.0f);
    rows.weights.push_back(0.5f + draw(3));
    rows.targets[0].push_back(draw(4) < 0.3f ? 1.0f : 0.0f);
    rows.outputs[0].push_back(draw(5));
    rows.outputs[1].push_back(rows.scores[i]);
    rows.outputs[2].push_back(rows.outputs[0][i]);
    const size_t slice = i % 3;
    rows.slices[0].push_back(static_cast<int32_t>(slice));
    scores[slice].push_back(rows.scores[i]);
    labels[slice].push_back(rows.labels[i]);
    weights[slice].push_back(rows.weights[i]);
  }
  const std::map<std::string, double> more = ByName(Measure(rows, schema, *pairs));
  REQUIRE(more.size() == 12);
  const ScoredSamples cvr{rows.outputs[0], rows.targets[0], rows.weights};
  CHECK(more.at("auc(cvr:buy)") == Auc(cvr));
  CHECK(more.at("log_loss(cvr:buy)") == LogLoss(cvr));
  CHECK(more.at("auc(score:buy)") == Auc({rows.scores, rows.targets[0], rows.weights}));
  CHECK(more.at("auc(cvr:label)") == Auc({rows.outputs[0], rows.labels, rows.weights}));
  for (size_t slice = 0; slice < 3; ++slice) {
    const std::string name = absl::StrCat("[where=", rows.slice_values[0][slice], "]");
    const ScoredSamples part{scores[slice], labels[slice], weights[slice]};
    CHECK(more.at("auc" + name) == Auc(part));
    CHECK(more.at("log_loss" + name) == LogLoss(part));
  }
}

// The metrics of some rows, with slices and pairs.
EvaluationResult Measured(const ScoredRows& rows, const FeatureSchema& schema) {
  const auto pairs = ParsePairs({"cvr:buy", "cvr:label"}, schema);
  REQUIRE(pairs.ok());
  return Measure(rows, schema, *pairs);
}

TEST_CASE("metrics of the label leave rows without one out, those of targets do not") {
  FeatureSchema schema;
  schema.targets = {"buy"};
  schema.slices = {"where"};
  schema.label_may_lack = true;
  for (const bool weighted : {false, true}) {
    ScoredRows all, labelled;
    for (ScoredRows* rows : {&all, &labelled}) {
      rows->outputs.resize(2);
      rows->targets.resize(1);
      rows->slices.resize(1);
      rows->slice_values = {{"top"}};
    }
    for (size_t i = 0; i < 101; ++i) {
      const auto draw = [&](uint64_t k) { return RandomUniform(RandomKey{k}, i); };
      const float label = i % 3 == 2 ? kNoLabel : draw(2) < 0.4f ? 1.0f : 0.0f;
      for (ScoredRows* rows : {&all, &labelled}) {
        if (rows == &labelled && label == kNoLabel) continue;
        rows->scores.push_back(draw(1));
        rows->labels.push_back(label);
        if (weighted) rows->weights.push_back(0.5f + draw(3));
        rows->groups.push_back(i % 7);
        rows->targets[0].push_back(draw(4) < 0.3f ? 1.0f : 0.0f);
        rows->outputs[0].push_back(draw(5));
        rows->outputs[1].push_back(draw(5));
        rows->slices[0].push_back(0);
      }
    }
    const EvaluationResult with = Measured(all, schema), without = Measured(labelled, schema);
    CHECK(with.auc == Approx(without.auc));
    CHECK(with.log_loss == Approx(without.log_loss));
    CHECK(with.normalized_entropy == Approx(without.normalized_entropy));
    CHECK(with.calibration == Approx(without.calibration));
    CHECK(with.gauc == Approx(without.gauc));
    std::map<std::string, double> more = ByName(with), expected = ByName(without);
    for (const char* name : {"auc(cvr:label)", "auc[where=top]", "log_loss[where=top]"}) {
      CHECK(more.at(name) == Approx(expected.at(name)));
    }
    CHECK(more.at("auc(cvr:buy)") == Auc({all.outputs[0], all.targets[0], all.weights}));
  }
}

TEST_CASE("pairs of no target or form are refused") {
  FeatureSchema schema;
  schema.targets = {"buy"};
  const auto message = [&](const std::string& pair) {
    return std::string(ParsePairs({pair}, schema).status().message());
  };
  CHECK_THAT(message("cvr:bay"), Contains("'bay'") && Contains("did you mean 'buy'?"));
  CHECK_THAT(message("cvr"), Contains("OUTPUT:TARGET"));
  CHECK_THAT(message(":buy"), Contains("OUTPUT:TARGET"));
  CHECK_THAT(message("a:buy:b"), Contains("OUTPUT:TARGET"));
  CHECK(ParsePairs({}, schema)->empty());
}

}  // namespace
}  // namespace pagoda

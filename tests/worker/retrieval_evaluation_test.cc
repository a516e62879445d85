#include "worker/retrieval_evaluation.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <map>
#include <set>

#include "tests/worker/training_world.h"
#include "worker/batch_reader.h"
#include "worker/job_cut.h"
#include "worker/scoring_pipeline.h"

namespace pagoda {
namespace {

constexpr int kItems = 23;

// Users like items of their own parity; train and test hold disjoint pairs.
void WriteLikes(const std::string& directory) {
  std::ofstream train(directory + "/train.csv"), test(directory + "/test.csv");
  std::ofstream items(directory + "/items.csv");
  train << "user,item,click\n";
  test << "user,item,click\n";
  items << "item\n";
  std::mt19937 rng(5);
  for (int user = 0; user < 30; ++user) {
    for (int item = 0; item < kItems; ++item) {
      if ((user + item) % 2 != 0 && rng() % 8 != 0) continue;
      auto& file = rng() % 4 == 0 ? test : train;
      file << 'u' << user << ",i" << item << ',' << (rng() % 10 == 0 ? 0 : 1) << '\n';
    }
  }
  test << "u3,unheard,1\n";  // Not in the corpus: always missed.
  for (int item = 0; item < kItems; ++item) items << 'i' << item << '\n';
  items << "i0\n";  // A repetition, which is not ranked twice.
}

TrainerOptions TwoTowerJob(const std::string& directory, const std::string& output) {
  TrainerOptions options =
      SmallJob("two_tower", directory + "/train.csv", directory + "/" + output);
  options.schema.features.erase(options.schema.features.begin() + 2, options.schema.features.end());
  REQUIRE(options.model_options.Set("user_features", std::vector<std::string>{"user"}).ok());
  REQUIRE(options.model_options.Set("item_features", std::vector<std::string>{"item"}).ok());
  options.stages[0].epochs = 20;
  options.evaluation.data.files = {directory + "/test.csv"};
  options.evaluation.items.files = {directory + "/items.csv"};
  options.evaluation.metric = "recall";
  options.evaluation.top_k = 5;
  options.evaluation.batch_size = 7;
  return options;
}

// Recall and NDCG recomputed from embeddings in double, by the header's protocol.
EvaluationResult Oracle(const EvaluationContext& context, const TrainerOptions& options) {
  struct Row {
    FeatureId user, item;
    bool positive;
  };
  const auto rows_of = [&](const DataOptions& data, std::vector<Row>* rows,
                           std::map<FeatureId, std::vector<float>>* embeddings, bool corpus) {
    ScoringOptions scoring;
    scoring.reader.data = data;
    scoring.reader.schema = options.schema;
    scoring.reader.batch_size = 1;
    scoring.reader.needs_labels = !corpus;
    scoring.reader.absent_columns_empty = corpus;
    REQUIRE(RunScoring(context, scoring, [&](const Batch& batch, ModelStep* step) {
              const auto made = step->RetrievalEmbeddings();
              if (corpus) {
                embeddings->emplace(batch.sparse[1].ids[0], made->item);
              } else {
                rows->push_back(
                    {batch.sparse[0].ids[0], batch.sparse[1].ids[0], batch.labels[0] > 0.5f});
                if (embeddings) embeddings->emplace(batch.sparse[0].ids[0], made->user);
              }
              return absl::OkStatus();
            }).ok());
  };
  std::map<FeatureId, std::vector<float>> items, users;
  std::vector<Row> test, train;
  rows_of(options.evaluation.items, nullptr, &items, true);
  rows_of(options.evaluation.data, &test, &users, false);
  rows_of(options.stages[0].data, &train, nullptr, false);
  std::map<FeatureId, std::set<FeatureId>> relevant, seen;
  for (const Row& row : test) {
    if (row.positive) relevant[row.user].insert(row.item);
  }
  for (const Row& row : train) {
    if (row.positive && options.evaluation.exclude_seen) seen[row.user].insert(row.item);
  }
  EvaluationResult result;
  for (const auto& [user, wanted] : relevant) {
    std::vector<std::pair<double, FeatureId>> ranked;
    for (const auto& [item, embedding] : items) {
      if (seen[user].contains(item) && !wanted.contains(item)) continue;
      double dot = 0.0;
      for (size_t c = 0; c < embedding.size(); ++c) dot += double{embedding[c]} * users[user][c];
      ranked.emplace_back(-dot, item);
    }
    std::sort(ranked.begin(), ranked.end());
    double hits = 0.0, gain = 0.0, ideal = 0.0;
    for (size_t r = 0; r < 5 && r < ranked.size(); ++r) {
      if (!wanted.contains(ranked[r].second)) continue;
      hits += 1.0;
      gain += 1.0 / std::log2(static_cast<double>(r) + 2.0);
    }
    for (size_t r = 0; r < std::min<size_t>(5, wanted.size()); ++r) {
      ideal += 1.0 / std::log2(static_cast<double>(r) + 2.0);
    }
    result.recall += hits / static_cast<double>(wanted.size());
    result.ndcg += gain / ideal;
  }
  result.samples = static_cast<int64_t>(relevant.size());
  result.recall /= static_cast<double>(relevant.size());
  result.ndcg /= static_cast<double>(relevant.size());
  return result;
}

TEST_CASE("full ranking agrees with a plain recomputation, with and without seen items") {
  TemporaryDirectory dir;
  WriteLikes(dir.path());
  const bool exclude_seen = GENERATE(true, false);
  CAPTURE(exclude_seen);
  TrainerOptions options = TwoTowerJob(dir.path(), "out");
  options.evaluation.exclude_seen = exclude_seen;
  ServerGroup servers(dir / "out", 1);
  const auto client = servers.MakeClient();
  const auto alone = SingleWorker();
  const RunTrace run = RunWorker(options, client.get(), alone.get());
  INFO(run.status.ToString());
  REQUIRE(run.status.ok());
  const EvaluationResult& last = run.evaluations.back().second;
  REQUIRE(last.retrieval);
  // 5 of 23 at random are .22, parity alone gives .43; seen items crowd the rest out.
  REQUIRE(last.recall > (exclude_seen ? 0.35 : 0.05));

  // The rows are still those of the last evaluation; so are the parameters of the cut.
  const auto model = ModelInstance::Create(options);
  REQUIRE(model.ok());
  const auto reader = servers.MakeClient();
  SessionOptions session;
  session.job = options.job;
  session.tables = (*model)->tables();
  session.training = false;
  REQUIRE(reader->Open(session).ok());
  std::string at_last;
  for (const auto& [step, cut] : run.cuts) at_last = cut;
  REQUIRE((*model)->SetDenseValues(ReadJobCut(at_last)->values).ok());
  const EvaluationContext context{model->get(), reader.get(), alone.get()};
  const EvaluationResult wanted = Oracle(context, options);
  REQUIRE(last.samples == wanted.samples);
  REQUIRE(last.recall == Approx(wanted.recall).epsilon(1e-9));
  REQUIRE(last.ndcg == Approx(wanted.ndcg).epsilon(1e-9));
}

TEST_CASE("a retrieval model without a corpus is refused in words") {
  TemporaryDirectory dir;
  WriteLikes(dir.path());
  TrainerOptions options = TwoTowerJob(dir.path(), "out");
  options.evaluation.items = DataOptions();
  options.stages[0].steps_max = 2;
  const RunTrace run = RunAlone(options, 1);
  REQUIRE(absl::IsInvalidArgument(run.status));
  REQUIRE_THAT(std::string(run.status.message()), Catch::Matchers::Contains("[data.items]"));
}

}  // namespace
}  // namespace pagoda

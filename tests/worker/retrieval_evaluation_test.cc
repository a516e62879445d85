#include "worker/retrieval_evaluation.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <sstream>

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

// The brute-force reading of the protocol: histories are left out, several K are rated.
TEST_CASE("items of a history are not ranked, and further K are measured") {
  TemporaryDirectory dir;
  std::ofstream train(dir / "train.csv"), test(dir / "test.csv"), items(dir / "items.csv");
  train << "user,item,past\n";
  test << "user,item,past\n";
  items << "item\n";
  std::mt19937 rng(9);
  std::map<FeatureId, std::set<FeatureId>> relevant, past;
  for (FeatureId item = 1; item <= 12; ++item) items << item << '\n';
  for (FeatureId user = 1; user <= 40; ++user) {
    train << user << ',' << 1 + rng() % 12 << ",1\n";
    // Two items are in the history; one of them may be relevant, too.
    const FeatureId a = 1 + rng() % 12, b = 1 + rng() % 12, wanted = 1 + rng() % 12;
    past[user] = {a, b};
    relevant[user] = {wanted};
    test << user << ',' << wanted << ',' << a << '|' << b << '\n';
  }
  train.close(), test.close(), items.close();
  TrainerOptions options = TwoTowerJob(dir.path(), "out");
  FeatureSpec user, item, history;
  user.name = "user";
  item.name = "item";
  history.name = "past";
  history.table = "item";
  history.separator = "|";
  user.kind = item.kind = history.kind = FeatureKind::kId;
  options.schema = FeatureSchema();
  options.schema.features = {user, item, history};
  options.schema.group = "user";  // A user's history differs from row to row.
  options.stages[0].epochs = 1;
  options.evaluation.seen_features = {"past"};
  options.evaluation.top_k = 3;
  options.evaluation.top_ks = {1, 12};
  options.evaluation.exclude_seen = true;
  // Training positives are not ranked either.
  std::map<FeatureId, std::set<FeatureId>> seen = past;
  std::ifstream again(dir / "train.csv");
  std::string line;
  std::getline(again, line);
  while (std::getline(again, line)) {
    FeatureId u = 0, i = 0;
    char comma = 0;
    std::istringstream(line) >> u >> comma >> i;
    seen[u].insert(i);
  }
  ServerGroup servers(dir / "out", 1);
  const auto client = servers.MakeClient();
  const auto alone = SingleWorker();
  const RunTrace run = RunWorker(options, client.get(), alone.get());
  INFO(run.status.ToString());
  REQUIRE(run.status.ok());
  const EvaluationResult& last = run.evaluations.back().second;
  REQUIRE(last.more.size() == 6);
  // At K = 12 everything that is ranked counts: each query's one relevant item is.
  CHECK(last.more[3].name == "recall@12");
  CHECK(last.more[3].value == 1.0);
  CHECK(last.more[5].name == "hit_rate@12");
  CHECK(last.more[0].name == "recall@1");
  // One relevant item a user: recall is the hit rate, and NDCG@1 equals both.
  CHECK(last.recall == last.hit_rate);
  CHECK(last.more[0].value == last.more[1].value);

  const auto model = ModelInstance::Create(options);
  REQUIRE(model.ok());
  const auto reader = servers.MakeClient();
  SessionOptions session;
  session.job = options.job;
  session.tables = (*model)->tables();
  session.training = false;
  REQUIRE(reader->Open(session).ok());
  REQUIRE((*model)->SetDenseValues(ReadJobCut(run.cuts.back().second)->values).ok());
  const EvaluationContext context{model->get(), reader.get(), alone.get()};
  std::map<FeatureId, std::vector<float>> users, corpus;
  for (const bool is_corpus : {true, false}) {
    ScoringOptions scoring;
    scoring.reader.data = is_corpus ? options.evaluation.items : options.evaluation.data;
    scoring.reader.schema = options.schema;
    scoring.reader.batch_size = 1;
    scoring.reader.needs_labels = false;
    scoring.reader.absent_columns_empty = true;
    REQUIRE(RunScoring(context, scoring, [&](const Batch& batch, ModelStep* step) {
              const auto made = step->RetrievalEmbeddings();
              if (is_corpus) corpus.emplace(batch.sparse[1].ids[0], made->item);
              if (!is_corpus) users.emplace(batch.sparse[0].ids[0], made->user);
              return absl::OkStatus();
            }).ok());
  }
  double hits = 0.0, gain = 0.0;
  for (const auto& [u, wanted] : relevant) {
    std::vector<std::pair<double, FeatureId>> ranked;
    for (const auto& [id, embedding] : corpus) {
      if (seen[u].contains(id) && !wanted.contains(id)) continue;
      double dot = 0.0;
      for (size_t c = 0; c < embedding.size(); ++c) dot += double{embedding[c]} * users[u][c];
      ranked.emplace_back(-dot, id);
    }
    std::sort(ranked.begin(), ranked.end());
    for (size_t r = 0; r < 3 && r < ranked.size(); ++r) {
      if (!wanted.contains(ranked[r].second)) continue;
      hits += 1.0;
      gain += 1.0 / std::log2(static_cast<double>(r) + 2.0);
    }
  }
  CHECK(last.hit_rate == Approx(hits / 40.0).epsilon(1e-9));
  CHECK(last.ndcg == Approx(gain / 40.0).epsilon(1e-9));
}

TEST_CASE("seen features that name no items are refused in words") {
  TemporaryDirectory dir;
  WriteLikes(dir.path());
  TrainerOptions options = TwoTowerJob(dir.path(), "out");
  options.stages[0].steps_max = 2;
  options.evaluation.seen_features = {GENERATE("user", "nothing")};
  const RunTrace run = RunAlone(options, 1);
  REQUIRE(absl::IsInvalidArgument(run.status));
  CHECK_THAT(std::string(run.status.message()),
             Catch::Matchers::Contains("evaluation.seen_features names '" +
                                       options.evaluation.seen_features[0] + "'"));
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

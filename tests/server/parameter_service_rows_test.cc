// Pulls and pushes of the parameter service.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>

#include "base/random.h"
#include "tests/server/service_session.h"
#include "tests/worker/temporary_directory.h"

namespace pagoda {
namespace {

const std::vector<proto::TableSpec> kTables = {MakeTable("user", 4, "adagrad"),
                                               MakeTable("item", 3, "adam")};

void JoinAll(ParameterService& service, uint32_t num_workers, const std::string& mode = "sync") {
  for (uint32_t rank = 0; rank < num_workers; ++rank) {
    proto::HelloRequest hello = MakeHelloOf(rank, num_workers, kTables);
    hello.set_mode(mode);
    const auto reply = service.Hello(hello);
    INFO(reply.status().ToString());
    REQUIRE(reply.ok());
  }
}

// What worker `rank` pushes in `step`: about half of 60 ids in each table; sometimes none.
std::vector<Rows> RandomRows(uint64_t seed, uint32_t rank, Step step) {
  const RandomKey key = RandomKey{seed}.Derive(rank).Derive(static_cast<uint64_t>(step));
  std::vector<Rows> rows;
  if (RandomUniform(key, 0) < 0.1f) return rows;
  for (const uint32_t table : {1u, 0u}) {
    Rows part;
    part.table = table;
    const RandomKey table_key = key.Derive(table + 1);
    for (FeatureId id = 0; id < 60; ++id) {
      if (RandomUniform(table_key, id) < 0.5f) part.ids.push_back(MixBits(id));
    }
    const size_t dim = kTables[table].dim();
    for (size_t i = 0; i < part.ids.size() * dim; ++i) {
      part.gradients.push_back(RandomNormal(table_key.Derive(9), i));
    }
    rows.push_back(std::move(part));
  }
  return rows;
}

// The step's gradients added up per id in rank order, by the plainest of loops.
std::vector<Rows> SumOf(const std::vector<std::vector<Rows>>& by_rank) {
  std::map<uint32_t, std::map<FeatureId, std::vector<float>>> sums;
  for (const std::vector<Rows>& worker : by_rank) {
    for (const Rows& rows : worker) {
      const size_t dim = kTables[rows.table].dim();
      for (size_t i = 0; i < rows.ids.size(); ++i) {
        const float* row = rows.gradients.data() + i * dim;
        auto [sum, is_new] = sums[rows.table].try_emplace(rows.ids[i], row, row + dim);
        for (size_t k = 0; k < dim && !is_new; ++k) sum->second[k] += row[k];
      }
    }
  }
  std::vector<Rows> merged;
  for (const auto& [table, rows] : sums) {
    merged.push_back({table, {}, {}});
    for (const auto& [id, gradient] : rows) {
      merged.back().ids.push_back(id);
      merged.back().gradients.insert(merged.back().gradients.end(), gradient.begin(),
                                     gradient.end());
    }
  }
  return merged;
}

TEST_CASE("a sync step is one optimizer step on the sum in rank order, whoever comes first") {
  constexpr Step kSteps = 12;
  for (const uint32_t num_workers : {1u, 2u, 3u, 4u}) {
    const uint64_t seed = 31 + num_workers;
    CAPTURE(seed, num_workers);
    const TemporaryDirectory directory, oracle_directory;
    {
      auto service = OpenService(directory.path());
      auto oracle = OpenService(oracle_directory.path());
      JoinAll(*service, num_workers);
      JoinAll(*oracle, 1);
      for (Step step = 1; step <= kSteps; ++step) {
        std::vector<std::vector<Rows>> by_rank;
        for (uint32_t rank = 0; rank < num_workers; ++rank) {
          by_rank.push_back(RandomRows(seed, rank, step));
        }
        std::vector<uint32_t> arrival(num_workers);
        std::iota(arrival.begin(), arrival.end(), 0u);
        for (size_t i = num_workers; i > 1; --i) {
          std::swap(arrival[i - 1],
                    arrival[RandomBelow(RandomKey{seed}.Derive(77).Derive(step), i, i)]);
        }
        std::vector<Answer> answers(num_workers);
        for (uint32_t i = 0; i < num_workers; ++i) {
          const uint32_t rank = arrival[i];
          for (Answer& answer : answers) CHECK_FALSE(answer.here());
          PushHeader header = MakeHeader(rank, step);
          header.learning_rate_factor = 1.0f / static_cast<float>(step);
          service->Push(header, AsPushes(by_rank[rank]), answers[rank].Done());
        }
        for (Answer& answer : answers) {
          const absl::Status status = answer.Get();
          INFO(status.ToString());
          REQUIRE(status.ok());
        }
        PushHeader header = MakeHeader(0, step);
        header.learning_rate_factor = 1.0f / static_cast<float>(step);
        REQUIRE(PushAndWait(*oracle, header, SumOf(by_rank)).ok());
      }
    }
    CHECK(ContentHashOf(directory.path()) == ContentHashOf(oracle_directory.path()));
  }
}

TEST_CASE("a row counts steps, not workers: once for the pushes of all of them") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  JoinAll(*service, 2);
  std::map<std::pair<uint32_t, FeatureId>, std::vector<uint32_t>> expected;
  constexpr Step kSteps = 9;
  for (Step step = 1; step <= kSteps; ++step) {
    std::vector<Answer> answers(2);
    std::vector<std::vector<Rows>> rows;
    for (uint32_t rank = 0; rank < 2; ++rank) {
      rows.push_back(RandomRows(5, rank, step));
      for (const Rows& part : rows.back()) {
        for (const FeatureId id : part.ids) {
          std::vector<uint32_t>& row = expected.try_emplace({part.table, id}, 2, 0u).first->second;
          if (row[1] != static_cast<uint32_t>(step)) ++row[0];
          row[1] = static_cast<uint32_t>(step);
        }
      }
    }
    for (uint32_t rank = 0; rank < 2; ++rank) {
      service->Push(MakeHeader(rank, step), AsPushes(rows[rank]), answers[rank].Done());
    }
    for (Answer& answer : answers) REQUIRE(answer.Get().ok());
  }
  REQUIRE(expected.size() == 120);
  for (const auto& [key, row] : expected) {
    CAPTURE(key.first, key.second);
    REQUIRE(PullStatistics(*service, key.first, {key.second}, kSteps).value() == row);
  }
}

TEST_CASE("a pull of the next step waits for the step, and sees it") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  JoinAll(*service, 2);
  const std::vector<FeatureId> ids = {1, 2, 99};
  const std::vector<float> before = PullAndWait(*service, 0, ids).value();
  std::vector<float> rows(ids.size() * 4);
  Answer early_pull, push_0, push_1;
  service->Pull("job", 0, 1, {{0, ids, rows.data()}}, early_pull.Done());
  const std::vector<Rows> worker_0 = {{0, {1, 2}, std::vector<float>(8, 1.0f)}};
  service->Push(MakeHeader(0, 1), AsPushes(worker_0), push_0.Done());
  CHECK_FALSE(early_pull.here());
  CHECK(PullAndWait(*service, 0, ids).value() == before);  // after_step 0 does not wait.
  service->Push(MakeHeader(1, 1), {}, push_1.Done());
  REQUIRE(early_pull.Get().ok());
  CHECK(push_0.Get().ok());
  CHECK(push_1.Get().ok());
  for (size_t i = 0; i < 8; ++i) CHECK(rows[i] != before[i]);
  CHECK(std::memcmp(rows.data() + 8, before.data() + 8, 16) == 0);  // Id 99 was not pushed.
  CHECK(PullAndWait(*service, 0, ids, 1).value() == rows);
}

TEST_CASE("a retried push is applied once, and answered as the first time") {
  for (const std::string mode : {"sync", "async"}) {
    CAPTURE(mode);
    const TemporaryDirectory directory, once_directory;
    const std::vector<Rows> rows = {{0, {5}, {1, 2, 3, 4}}};
    {
      auto once = OpenService(once_directory.path());
      JoinAll(*once, 1, mode);
      CHECK(PushAndWait(*once, MakeHeader(0, 1), rows).ok());
      CHECK(PushAndWait(*once, MakeHeader(0, 2), rows).ok());
    }
    {
      auto service = OpenService(directory.path());
      JoinAll(*service, 1, mode);
      for (int times = 0; times < 3; ++times) {
        CHECK(PushAndWait(*service, MakeHeader(0, 1), rows).ok());
      }
      CHECK(PushAndWait(*service, MakeHeader(0, 2), rows).ok());
      CHECK(PushAndWait(*service, MakeHeader(0, 1), rows).ok());
    }
    CHECK(ContentHashOf(directory.path()) == ContentHashOf(once_directory.path()));
  }
}

TEST_CASE("rows that a push asks back are those after it, also for a retry") {
  for (const std::string mode : {"sync", "async"}) {
    CAPTURE(mode);
    const TemporaryDirectory directory;
    auto service = OpenService(directory.path());
    JoinAll(*service, 1, mode);
    const std::vector<FeatureId> ids = {5, 6, 7};
    const std::vector<float> gradients(12, 1.0f);
    const std::vector<uint32_t> returned = {0, 2};
    std::vector<float> expected;
    for (int times = 0; times < 2; ++times) {
      std::vector<float> rows(8, -1.0f);
      Answer answer;
      service->Push(MakeHeader(0, 1), {{0, ids, gradients, returned, rows.data()}}, answer.Done());
      REQUIRE(answer.Get().ok());
      const std::vector<float> all = PullAndWait(*service, 0, ids).value();
      expected.assign(all.begin(), all.begin() + 4);
      expected.insert(expected.end(), all.begin() + 8, all.end());
      CHECK(rows == expected);
    }
    for (const std::vector<uint32_t>& wrong :
         {std::vector<uint32_t>{3}, {2, 1}, {1, 1}, {0, 1, 2, 4000000000u}}) {
      std::vector<float> rows(16, -1.0f);
      Answer answer;
      service->Push(MakeHeader(0, 2), {{0, ids, gradients, wrong, rows.data()}}, answer.Done());
      const absl::Status refused = answer.Get();
      CHECK(refused.code() == absl::StatusCode::kInvalidArgument);
      CHECK_THAT(std::string(refused.message()), Catch::Contains("asked back"));
      CHECK(rows == std::vector<float>(16, -1.0f));
    }
    const std::vector<float> all = PullAndWait(*service, 0, ids).value();
    CHECK(std::equal(expected.begin(), expected.begin() + 4, all.begin()));  // Nothing applied.
  }
}

TEST_CASE("a retry that comes while the step still gathers is answered with the first") {
  const TemporaryDirectory directory, once_directory;
  const std::vector<Rows> rows = {{0, {5}, {1, 2, 3, 4}}};
  for (const bool retried : {false, true}) {
    const std::string& path = retried ? directory.path() : once_directory.path();
    auto service = OpenService(path);
    JoinAll(*service, 2);
    Answer first, second;
    service->Push(MakeHeader(0, 1), AsPushes(rows), first.Done());
    if (retried) service->Push(MakeHeader(0, 1), AsPushes(rows), second.Done());
    CHECK_FALSE(second.here());
    CHECK(PushAndWait(*service, MakeHeader(1, 1), rows).ok());
    CHECK(first.Get().ok());
    if (retried) CHECK(second.Get().ok());
  }
  CHECK(ContentHashOf(directory.path()) == ContentHashOf(once_directory.path()));
}

struct BadPush {
  std::string name;
  PushHeader header;
  std::vector<Rows> rows;
  absl::StatusCode code;
  std::string word;  // In the message.
};

std::vector<BadPush> BadPushes() {
  using Code = absl::StatusCode;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const Rows good = {0, {5}, {1, 2, 3, 4}};
  const PushHeader header = MakeHeader(0, 2);
  auto with = [&](auto change) {
    PushHeader changed = header;
    change(changed);
    return changed;
  };
  return {
      {"NaN", header, {good, {1, {8, 9}, {1, 2, 3, 4, nan, 6}}}, Code::kInvalidArgument, "9"},
      {"infinity", header, {{0, {5}, {1, -infinity, 3, 4}}}, Code::kInvalidArgument, "finite"},
      {"an id twice",
       header,
       {good, {1, {8, 7, 8}, std::vector<float>(9)}},
       Code::kInvalidArgument,
       "8"},
      {"too few gradients", header, {good, {1, {8}, {1, 2}}}, Code::kInvalidArgument, "item"},
      {"too many gradients",
       header,
       {good, {1, {8}, {1, 2, 3, 4}}},
       Code::kInvalidArgument,
       "item"},
      {"gradients without ids", header, {good, {1, {}, {1, 2, 3}}}, Code::kInvalidArgument, "item"},
      {"no such table", header, {good, {7, {8}, {1}}}, Code::kNotFound, "7"},
      {"a table twice", header, {good, good}, Code::kInvalidArgument, "twice"},
      {"another job",
       with([](PushHeader& h) { h.job = "x"; }),
       {good},
       Code::kFailedPrecondition,
       "'x'"},
      {"an older epoch",
       with([](PushHeader& h) { h.epoch = 0; }),
       {good},
       Code::kFailedPrecondition,
       "epoch 0"},
      {"a newer epoch",
       with([](PushHeader& h) { h.epoch = 2; }),
       {good},
       Code::kFailedPrecondition,
       "epoch 2"},
      {"a lower incarnation",
       with([](PushHeader& h) { h.incarnation = 999; }),
       {good},
       Code::kFailedPrecondition,
       "999"},
      {"no such rank",
       with([](PushHeader& h) { h.rank = 9; }),
       {good},
       Code::kFailedPrecondition,
       "worker 9"},
      {"sequence 0",
       with([](PushHeader& h) { h.sequence = 0; }),
       {good},
       Code::kInvalidArgument,
       "sequence"},
      {"step 0", with([](PushHeader& h) { h.step = 0; }), {good}, Code::kInvalidArgument, "step"},
      {"a step that is over",
       with([](PushHeader& h) { h.step = 1; }),
       {good},
       Code::kFailedPrecondition,
       "step 1"},
      {"a NaN learning rate",
       with([&](PushHeader& h) { h.learning_rate_factor = nan; }),
       {good},
       Code::kInvalidArgument,
       "learning rate"},
      {"a negative learning rate",
       with([&](PushHeader& h) { h.learning_rate_factor = -1; }),
       {good},
       Code::kInvalidArgument,
       "learning rate"},
  };
}

TEST_CASE("a refused push changes nothing, with one worker and with two") {
  for (const uint32_t num_workers : {1u, 2u}) {
    const TemporaryDirectory directory;
    uint64_t expected = 0;
    for (const bool with_bad : {false, true}) {
      const TemporaryDirectory fresh;
      {
        auto service = OpenService(fresh.path());
        JoinAll(*service, num_workers);
        for (Step step = 1; step <= 2; ++step) {
          if (step == 2 && with_bad) {
            for (const BadPush& bad : BadPushes()) {
              CAPTURE(num_workers, bad.name);
              const absl::Status status = PushAndWait(*service, bad.header, bad.rows);
              INFO(status.ToString());
              CHECK(status.code() == bad.code);
              CHECK_THAT(std::string(status.message()), Catch::Contains(bad.word));
            }
          }
          std::vector<Answer> answers(num_workers);
          std::vector<Rows> rows = {{0, {5, 6}, {1, 2, 3, 4, 5, 6, 7, 8}}};
          for (uint32_t rank = 0; rank < num_workers; ++rank) {
            service->Push(MakeHeader(rank, step), AsPushes(rows), answers[rank].Done());
          }
          for (Answer& answer : answers) CHECK(answer.Get().ok());
        }
      }
      const uint64_t hash = ContentHashOf(fresh.path());
      if (with_bad) {
        CHECK(hash == expected);
      } else {
        expected = hash;
      }
    }
  }
}

TEST_CASE("when the store refuses the sum, every worker of the step hears it, and may try again") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  JoinAll(*service, 2);
  const float huge = 3e38f;
  const std::vector<Rows> rows = {{0, {5}, {huge, 0, 0, 0}}};  // Finite alone, not together.
  const std::vector<float> before = PullAndWait(*service, 0, {5}).value();
  Answer first, second;
  service->Push(MakeHeader(0, 1), AsPushes(rows), first.Done());
  service->Push(MakeHeader(1, 1), AsPushes(rows), second.Done());
  CHECK(first.Get().code() == absl::StatusCode::kInvalidArgument);
  CHECK(second.Get() == first.Get());
  CHECK_THAT(std::string(first.Get().message()), Catch::Contains("step 1"));
  CHECK(PullAndWait(*service, 0, {5}).value() == before);
  Answer again;
  service->Push(MakeHeader(0, 1), {}, again.Done());
  CHECK(PushAndWait(*service, MakeHeader(1, 1), {}).ok());
  CHECK(again.Get().ok());
}

TEST_CASE("workers must agree on step and learning rate") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  JoinAll(*service, 2);
  Answer first;
  service->Push(MakeHeader(0, 5), {}, first.Done());
  CHECK(PushAndWait(*service, MakeHeader(1, 6), {}).code() ==
        absl::StatusCode::kFailedPrecondition);
  PushHeader other_rate = MakeHeader(1, 5);
  other_rate.learning_rate_factor = 0.5f;
  CHECK_THAT(std::string(PushAndWait(*service, other_rate, {}).message()),
             Catch::Contains("learning rate factor 0.5"));
  PushHeader twice = MakeHeader(0, 5);
  twice.sequence = 1234;
  CHECK_THAT(std::string(PushAndWait(*service, twice, {}).message()), Catch::Contains("twice"));
  CHECK_FALSE(first.here());
  CHECK(PushAndWait(*service, MakeHeader(1, 5), {}).ok());
  CHECK(first.Get().ok());
}

TEST_CASE("ids of another shard are refused") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  proto::HelloRequest hello = MakeHelloOf(0, 1, kTables);
  hello.set_shard(1);
  hello.set_num_shards(2);
  REQUIRE(service->Hello(hello).ok());
  FeatureId mine = 0, other = 0;
  while (ShardOf(mine, 2) != 1) ++mine;
  while (ShardOf(other, 2) != 0) ++other;
  CHECK(PushAndWait(*service, MakeHeader(0, 1), {{0, {mine}, {1, 1, 1, 1}}}).ok());
  const absl::Status status =
      PushAndWait(*service, MakeHeader(0, 2), {{0, {mine, other}, std::vector<float>(8)}});
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK_THAT(std::string(status.message()), Catch::Contains("belongs to shard 0 of 2"));
}

TEST_CASE("an exact table takes every step, also those without rows") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  proto::TableSpec exact = MakeTable("user", 1, "sgd");
  exact.set_init_stddev(1.0f);
  exact.mutable_optimizer()->set_learning_rate(0.5f);
  exact.mutable_optimizer()->set_weight_decay(0.5f);
  exact.mutable_optimizer()->set_exact(true);
  for (const uint32_t rank : {0u, 1u}) {
    REQUIRE(service->Hello(MakeHelloOf(rank, 2, {exact})).ok());
  }
  const float before = PullAndWait(*service, 0, {7}).value()[0];
  for (Step step = 1; step <= 3; ++step) {
    Answer first, second;
    service->Push(MakeHeader(0, step), {}, first.Done());
    service->Push(MakeHeader(1, step), {}, second.Done());
    REQUIRE(first.Get().ok());
    REQUIRE(second.Get().ok());
  }
  CHECK(PullAndWait(*service, 0, {7}, 3).value()[0] ==
        Approx(before * 0.75 * 0.75 * 0.75).epsilon(1e-6));
}

TEST_CASE("frozen tables take no push") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  proto::TableSpec frozen = MakeTable("frozen", 1);
  frozen.set_frozen(true);
  REQUIRE(service->Hello(MakeHelloOf(0, 1, {frozen, MakeTable("user", 1)})).ok());
  const absl::Status status =
      PushAndWait(*service, MakeHeader(0, 1), {{1, {1}, {1.0f}}, {0, {1}, {1.0f}}});
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK_THAT(std::string(status.message()), Catch::Contains("frozen"));
  CHECK(service->TableStats()->tables(0).rows() == 0);
  CHECK(service->TableStats()->tables(1).rows() == 0);
  CHECK(PullAndWait(*service, 0, {1}).ok());
}

TEST_CASE("requests above the limits are refused at once") {
  const TemporaryDirectory directory;
  ParameterServiceOptions options;
  options.data_dir = directory.path();
  options.memory_bytes = 32 << 20;
  options.ids_per_request_max = 4;
  options.bytes_in_flight_max = 200;
  auto service = ParameterService::Open(options).value();
  JoinAll(*service, 2);
  const std::vector<FeatureId> five = {1, 2, 3, 4, 5};
  CHECK(PullAndWait(*service, 0, five).status().code() == absl::StatusCode::kResourceExhausted);
  CHECK(PushAndWait(*service, MakeHeader(0, 1), {{0, five, std::vector<float>(20)}}).code() ==
        absl::StatusCode::kResourceExhausted);
  // 4 rows of 24 bytes: two fit, a third does not while the first two wait.
  const std::vector<Rows> four = {{0, {1, 2, 3, 4}, std::vector<float>(16)}};
  Answer waits;
  service->Push(MakeHeader(0, 1), AsPushes(four), waits.Done());
  Answer also_waits;
  std::vector<float> out(16);
  service->Pull("job", 0, 1, {{0, four[0].ids, out.data()}}, also_waits.Done());
  const absl::Status third = PushAndWait(*service, MakeHeader(1, 1), four);
  CHECK(third.code() == absl::StatusCode::kResourceExhausted);
  CHECK_THAT(std::string(third.message()), Catch::Contains("200"));
  CHECK_FALSE(waits.here());
  // The same push, smaller: it is a retry of nothing, and completes the step.
  CHECK(PushAndWait(*service, MakeHeader(1, 1), {}).ok());
  CHECK(waits.Get().ok());
  CHECK(also_waits.Get().ok());
  CHECK(PullAndWait(*service, 0, four[0].ids).ok());  // All bytes have been given back.
  CHECK(PullAndWait(*service, 0, four[0].ids).ok());
  CHECK(PullAndWait(*service, 0, four[0].ids).ok());
}

TEST_CASE("async pushes are applied at once, in any order of sequence") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  JoinAll(*service, 2, "async");
  const std::vector<float> before = PullAndWait(*service, 0, {1}).value();
  CHECK(PushAndWait(*service, MakeHeader(0, 9), {{0, {1}, {1, 1, 1, 1}}}).ok());
  const std::vector<float> after_one = PullAndWait(*service, 0, {1}, 1000).value();
  CHECK(after_one != before);
  CHECK(PushAndWait(*service, MakeHeader(0, 8), {{0, {1}, {1, 1, 1, 1}}}).ok());
  CHECK(PullAndWait(*service, 0, {1}).value() != after_one);
}

TEST_CASE("an unknown job, table or job's reader is refused a pull") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  std::vector<float> out(4);
  const std::vector<FeatureId> ids = {1};
  Answer early;
  service->Pull("job", 0, 0, {}, early.Done());
  CHECK(early.Get().code() == absl::StatusCode::kFailedPrecondition);
  JoinAll(*service, 1);
  CHECK(PullAndWait(*service, 0, ids, 0, "other").status().code() ==
        absl::StatusCode::kFailedPrecondition);
  Answer unknown_table;
  service->Pull("job", 0, 0, {{9, ids, out.data()}}, unknown_table.Done());
  CHECK(unknown_table.Get().code() == absl::StatusCode::kNotFound);
  Answer nothing;
  service->Pull("job", 0, 0, {}, nothing.Done());
  CHECK(nothing.Get().ok());
}

TEST_CASE("reading never stores a row") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  JoinAll(*service, 1);
  CHECK(PullAndWait(*service, 0, {1, 2, 3, 1}).ok());
  CHECK(service->TableStats()->tables(0).rows() == 0);
}

}  // namespace
}  // namespace pagoda

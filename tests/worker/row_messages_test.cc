#include "worker/row_messages.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "base/hash.h"
#include "base/random.h"

namespace pagoda {
namespace {

SessionOptions Session() {
  SessionOptions session;
  session.job = "job";
  session.rank = 3;
  for (const uint32_t dim : {2u, 5u}) session.tables.emplace_back().set_dim(dim);
  return session;
}

std::vector<FeatureId> RandomIds(size_t count) {
  std::vector<FeatureId> ids;
  for (size_t i = 0; i < count; ++i) ids.push_back(RandomBits(RandomKey{3}, i));
  return ids;
}

template <typename T>
std::vector<T> Values(const std::string& bytes) {
  REQUIRE(bytes.size() % sizeof(T) == 0);
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// What a server makes of ids: rows that say id, table and column.
std::string RowsOf(const std::vector<FeatureId>& ids, uint32_t table, size_t dim) {
  std::vector<float> rows;
  for (const FeatureId id : ids) {
    for (size_t c = 0; c < dim; ++c) {
      rows.push_back(static_cast<float>(id % 1000 + 1000 * table + 10000 * c));
    }
  }
  return std::string(reinterpret_cast<const char*>(rows.data()), rows.size() * sizeof(float));
}

TEST_CASE("pulls go to the owners of their ids, and answers to their places") {
  const SessionOptions session = Session();
  for (const size_t servers : {1u, 2u, 3u}) {
    CAPTURE(servers);
    // Server s calls table t 10 s + t.
    std::vector<std::vector<uint32_t>> table_ids;
    for (uint32_t s = 0; s < servers; ++s) table_ids.push_back({10 * s, 10 * s + 1});
    const std::vector<FeatureId> ids = RandomIds(101);
    std::vector<float> rows(505, -1.0f);
    const PullMessages messages = MakePulls(
        {&session, &table_ids}, std::vector<TablePull>{{1, ids, rows.data()}, {0, {}, {}}}, 7);
    REQUIRE(messages.requests.size() == servers);
    for (size_t s = 0; s < servers; ++s) {
      const proto::PullRequest& request = *messages.requests[s];
      REQUIRE(request.after_step() == 7);
      REQUIRE(request.rank() == 3);
      proto::PullReply reply;
      for (const proto::TableIds& table : request.tables()) {
        REQUIRE(table.table() == 10 * s + 1);
        const auto asked = Values<FeatureId>(table.ids());
        for (const FeatureId id : asked) {
          REQUIRE(ShardOf(id, static_cast<uint32_t>(servers)) == s);
        }
        reply.add_rows(RowsOf(asked, 1, 5));
      }
      REQUIRE(TakeRows(reply.rows(), messages.answers[s], "a:1").ok());
    }
    const std::string want = RowsOf(ids, 1, 5);
    REQUIRE(std::memcmp(rows.data(), want.data(), want.size()) == 0);
  }
}

// What a server makes of ids: two numbers of the id.
std::string StatisticsOf(const std::vector<FeatureId>& ids) {
  std::vector<uint32_t> numbers;
  for (const FeatureId id : ids) {
    numbers.push_back(static_cast<uint32_t>(id % 1001));
    numbers.push_back(static_cast<uint32_t>(id % 77));
  }
  return std::string(reinterpret_cast<const char*>(numbers.data()), numbers.size() * 4);
}

TEST_CASE("statistics are asked for by table, and come to their places") {
  const SessionOptions session = Session();
  for (const size_t servers : {1u, 2u, 3u}) {
    CAPTURE(servers);
    const std::vector<std::vector<uint32_t>> table_ids(servers, {0, 1});
    const std::vector<FeatureId> ids = RandomIds(101);
    std::vector<float> rows(505), other_rows(202);
    std::vector<uint32_t> statistics(202, 5);
    const PullMessages messages =
        MakePulls({&session, &table_ids},
                  std::vector<TablePull>{{0, ids, other_rows.data()},
                                         {1, ids, rows.data(), statistics.data()}},
                  7);
    for (size_t s = 0; s < servers; ++s) {
      proto::PullReply reply;
      for (const proto::TableIds& table : messages.requests[s]->tables()) {
        CHECK(table.statistics() == (table.table() == 1));
        const auto asked = Values<FeatureId>(table.ids());
        reply.add_rows(RowsOf(asked, table.table(), table.table() == 1 ? 5 : 2));
        reply.add_statistics(table.statistics() ? StatisticsOf(asked) : "");
      }
      proto::PullReply less = reply, none = reply, more = reply;
      less.mutable_statistics(1)->pop_back();
      none.clear_statistics();
      more.set_statistics(0, "12345678");
      for (const proto::PullReply& wrong : {less, none, more}) {
        const absl::Status refused = TakePull(wrong, messages.answers[s], "a:1");
        CHECK(refused.code() == absl::StatusCode::kInternal);
        CHECK_THAT(std::string(refused.message()), Catch::Contains("server a:1"));
      }
      REQUIRE(TakePull(reply, messages.answers[s], "a:1").ok());
    }
    const std::string want = StatisticsOf(ids), want_rows = RowsOf(ids, 1, 5);
    CHECK(std::memcmp(statistics.data(), want.data(), want.size()) == 0);
    CHECK(std::memcmp(rows.data(), want_rows.data(), want_rows.size()) == 0);
  }
}

TEST_CASE("pushes carry their gradients, and the rows asked back come to their places") {
  const SessionOptions session = Session();
  for (const size_t servers : {1u, 2u, 3u}) {
    CAPTURE(servers);
    std::vector<std::vector<uint32_t>> table_ids;
    for (uint32_t s = 0; s < servers; ++s) table_ids.push_back({10 * s, 10 * s + 1});
    const std::vector<FeatureId> ids = RandomIds(50);
    std::vector<float> gradients;
    for (size_t i = 0; i < 250; ++i) gradients.push_back(static_cast<float>(i));
    std::vector<uint32_t> returned;
    for (uint32_t i = 1; i < 50; i += 3) returned.push_back(i);
    std::vector<float> rows(returned.size() * 5, -1.0f);
    proto::PushRequest header;
    header.set_step(9);
    const PushMessages messages =
        MakePushes({&session, &table_ids}, header,
                   std::vector<TablePush>{{0, ids, gradients.data()},
                                          {1, ids, gradients.data(), returned, rows.data()}});
    size_t seen = 0;
    for (size_t s = 0; s < servers; ++s) {
      const proto::PushRequest& request = *messages.requests[s];
      REQUIRE(request.step() == 9);
      proto::PushReply reply;
      for (const proto::TableGradients& table : request.tables()) {
        const uint32_t t = table.table() - 10 * static_cast<uint32_t>(s);
        const size_t dim = t == 0 ? 2 : 5;
        const auto pushed = Values<FeatureId>(table.ids());
        const auto values = Values<float>(table.gradients());
        REQUIRE(values.size() == pushed.size() * dim);
        for (size_t i = 0; i < pushed.size(); ++i) {
          const auto at = std::find(ids.begin(), ids.end(), pushed[i]) - ids.begin();
          REQUIRE(values[i * dim] == gradients[static_cast<size_t>(at) * dim]);
          ++seen;
        }
        std::vector<FeatureId> back;
        for (const uint32_t position : Values<uint32_t>(table.returned())) {
          back.push_back(pushed[position]);
        }
        if (t == 0) REQUIRE(back.empty());
        reply.add_rows(RowsOf(back, t, dim));
      }
      REQUIRE(TakeRows(reply.rows(), messages.answers[s], "a:1").ok());
    }
    REQUIRE(seen == 100);
    std::vector<FeatureId> wanted;
    for (const uint32_t position : returned) wanted.push_back(ids[position]);
    const std::string want = RowsOf(wanted, 1, 5);
    REQUIRE(std::memcmp(rows.data(), want.data(), want.size()) == 0);
  }
}

TEST_CASE("an answer of another size is refused, and the server named") {
  const SessionOptions session = Session();
  const std::vector<std::vector<uint32_t>> table_ids = {{0, 1}};
  const std::vector<FeatureId> ids = {1, 2};
  std::vector<float> rows(4, -1.0f);
  const PullMessages messages =
      MakePulls({&session, &table_ids}, std::vector<TablePull>{{0, ids, rows.data()}}, 0);
  for (const size_t bytes : {0u, 15u, 17u, 32u}) {
    proto::PullReply reply;
    reply.add_rows(std::string(bytes, 'x'));
    const absl::Status refused = TakeRows(reply.rows(), messages.answers[0], "a:1");
    REQUIRE(refused.code() == absl::StatusCode::kInternal);
    REQUIRE_THAT(std::string(refused.message()), Catch::Contains("server a:1"));
  }
  proto::PullReply none;
  REQUIRE_FALSE(TakeRows(none.rows(), messages.answers[0], "a:1").ok());
  REQUIRE(rows == std::vector<float>(4, -1.0f));
}

}  // namespace
}  // namespace pagoda

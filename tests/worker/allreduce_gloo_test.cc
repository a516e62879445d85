#include "worker/allreduce_gloo.h"

#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <functional>
#include <thread>

#include "absl/time/clock.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "tests/worker/board_client.h"

namespace pagoda {
namespace {

GlooOptions Options(int rank, int num_workers) {
  GlooOptions options;
  options.rank = rank;
  options.num_workers = num_workers;
  options.host = "127.0.0.1";
  options.connect_timeout = absl::Seconds(20);
  options.call_deadline = absl::Seconds(20);
  return options;
}

// Runs body(rank, allreduce) on one thread per worker; the statuses by rank. Checks
// are made on the test's own thread only: Catch2 knows no other.
std::vector<absl::Status> RunWorkers(int num_workers,
                                     const std::function<absl::Status(int, AllReduce&)>& body) {
  Board board;
  std::vector<absl::Status> statuses(static_cast<size_t>(num_workers));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < num_workers; ++rank) {
    threads.emplace_back([&, rank] {
      BoardClient client(&board);
      auto allreduce = MakeGlooAllReduce(Options(rank, num_workers), &client);
      statuses[static_cast<size_t>(rank)] = body(rank, *allreduce);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return statuses;
}

void CheckAllOk(const std::vector<absl::Status>& statuses) {
  for (const absl::Status& status : statuses) {
    INFO(status.ToString());
    REQUIRE(status.ok());
  }
}

// Two connected workers, the caller's and one more.
struct Pair {
  explicit Pair(const GlooOptions& mine_options) : client(&board), other_client(&board) {
    mine = MakeGlooAllReduce(mine_options, &client);
    other = MakeGlooAllReduce(Options(1, 2), &other_client);
    absl::Status other_status;
    std::thread peer([&] { other_status = other->Barrier(); });
    const absl::Status status = mine->Barrier();
    peer.join();
    CheckAllOk({status, other_status});
  }

  Board board;
  BoardClient client, other_client;
  std::unique_ptr<AllReduce> mine, other;
};

double Seconds(absl::Time since) {
  return absl::ToDoubleSeconds(absl::Now() - since);
}

template <typename T>
void CheckSums(int num_workers, size_t size) {
  const uint64_t seed = 5;
  CAPTURE(seed, num_workers, size);
  std::vector<std::vector<T>> values(static_cast<size_t>(num_workers));
  std::vector<double> expected(size), magnitude(size);
  for (int rank = 0; rank < num_workers; ++rank) {
    for (size_t i = 0; i < size; ++i) {
      const T value = static_cast<T>(RandomNormal(RandomKey{seed}.Derive(rank), i));
      values[static_cast<size_t>(rank)].push_back(value);
      expected[i] += static_cast<double>(value);
      magnitude[i] += std::fabs(static_cast<double>(value));
    }
  }
  CheckAllOk(RunWorkers(num_workers, [&](int rank, AllReduce& allreduce) {
    return allreduce.Sum(std::span<T>(values[static_cast<size_t>(rank)]));
  }));
  // n - 1 additions, each within half an ulp of a partial sum.
  const double epsilon = std::numeric_limits<T>::epsilon() * num_workers;
  for (size_t r = 0; r < values.size(); ++r) {
    REQUIRE(std::memcmp(values[r].data(), values[0].data(), size * sizeof(T)) == 0);
  }
  for (size_t i = 0; i < size; ++i) {
    REQUIRE(std::fabs(static_cast<double>(values[0][i]) - expected[i]) <= epsilon * magnitude[i]);
  }
}

TEST_CASE("sums are right, and have the same bits on every worker") {
  for (const int num_workers : {2, 3}) {
    for (const size_t size : {0u, 1u, 2u, 7u, 1000u, 100001u}) {
      CheckSums<float>(num_workers, size);
      CheckSums<double>(num_workers, size);
    }
  }
}

TEST_CASE("two runs give the same bits") {
  std::vector<std::vector<float>> runs;
  for (int run = 0; run < 2; ++run) {
    std::vector<std::vector<float>> values(3);
    CheckAllOk(RunWorkers(3, [&](int rank, AllReduce& allreduce) {
      std::vector<float>& mine = values[static_cast<size_t>(rank)];
      for (size_t i = 0; i < 999; ++i) {
        mine.push_back(RandomNormal(RandomKey{9}.Derive(static_cast<uint64_t>(rank)), i));
      }
      return allreduce.Sum(std::span<float>(mine));
    }));
    runs.push_back(values[0]);
  }
  CHECK(std::memcmp(runs[0].data(), runs[1].data(), runs[0].size() * sizeof(float)) == 0);
}

TEST_CASE("gather concatenates in rank order, with any sizes") {
  const std::vector<std::vector<double>> parts = {{1.5}, {}, {2.5, 3.5, 4.5}};
  std::vector<std::vector<double>> results(3), empty_results(3, {1.0});
  CheckAllOk(RunWorkers(3, [&](int rank, AllReduce& allreduce) -> absl::Status {
    const size_t r = static_cast<size_t>(rank);
    PAGODA_ASSIGN_OR_RETURN(results[r], allreduce.Gather(parts[r]));
    PAGODA_ASSIGN_OR_RETURN(empty_results[r], allreduce.Gather({}));
    return absl::OkStatus();
  }));
  for (size_t r = 0; r < 3; ++r) {
    CHECK(results[r] == std::vector<double>{1.5, 2.5, 3.5, 4.5});
    CHECK(empty_results[r].empty());
  }
}

TEST_CASE("a barrier waits for the slowest") {
  std::atomic<int> arrived{0};
  std::vector<int> seen(3);
  CheckAllOk(RunWorkers(3, [&](int rank, AllReduce& allreduce) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50 * rank));
    ++arrived;
    const absl::Status status = allreduce.Barrier();
    seen[static_cast<size_t>(rank)] = arrived;
    return status;
  }));
  CHECK(seen == std::vector<int>{3, 3, 3});
}

TEST_CASE("a worker may end as soon as its last call has") {
  for (int round = 0; round < 20; ++round) {
    CAPTURE(round);
    CheckAllOk(RunWorkers(2, [&](int rank, AllReduce& allreduce) -> absl::Status {
      std::vector<float> values(1000, 1.0f);
      PAGODA_RETURN_IF_ERROR(allreduce.Sum(std::span<float>(values)));
      return allreduce.Barrier();
    }));
  }
}

TEST_CASE("a worker that ends early is named, at once, and the object is dead") {
  Pair pair(Options(0, 2));
  pair.other.reset();
  const absl::Time start = absl::Now();
  std::vector<float> values(100000, 1.0f);
  const absl::Status status = pair.mine->Sum(std::span<float>(values));
  CHECK(Seconds(start) < 5);
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK_THAT(std::string(status.message()),
             Catch::Contains("the connection to worker 1 (rank 1) broke in a sum"));
  CHECK(pair.mine->Barrier() == status);
  CHECK(pair.mine->Gather({}).status() == status);
}

TEST_CASE("a write to a peer that has died does not end the process") {
  BoardClient client(nullptr);
  std::signal(SIGPIPE, SIG_DFL);
  const auto allreduce = MakeGlooAllReduce(Options(0, 2), &client);
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  CHECK(::write(ends[1], "x", 1) == -1);
  CHECK(errno == EPIPE);
  ::close(ends[1]);
}

TEST_CASE("a worker that never comes is named when the connect timeout ends") {
  Board board;
  BoardClient client(&board);
  GlooOptions options = Options(0, 2);
  options.connect_timeout = absl::Milliseconds(500);
  auto allreduce = MakeGlooAllReduce(options, &client);
  const absl::Time start = absl::Now();
  const absl::Status status = allreduce->Barrier();
  CHECK(Seconds(start) >= 0.5);
  CHECK(Seconds(start) < 5);
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(std::string(status.message()) ==
        "worker 1 (rank 1) has not come to the rendezvous within 500ms");
}

TEST_CASE("when the job fails, a call that waits ends with the job's cause") {
  Pair pair(Options(0, 2));
  const absl::Status cause =
      absl::AbortedError("worker 1 (rank 1) has not been heard from for 8.0 s");
  std::thread failing([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    pair.board.Fail(cause);
  });
  const absl::Time start = absl::Now();
  std::vector<double> values(10);
  const absl::Status status = pair.mine->Sum(std::span<double>(values));
  failing.join();
  CHECK(Seconds(start) < 3);
  CHECK(status == cause);
}

TEST_CASE("a call has a deadline of its own") {
  GlooOptions options = Options(0, 2);
  options.call_deadline = absl::Milliseconds(400);
  Pair pair(options);
  const absl::Time start = absl::Now();
  const absl::Status status = pair.mine->Barrier();
  CHECK(Seconds(start) < 5);
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK_THAT(std::string(status.message()), Catch::Contains("barrier over 2 workers"));
}

TEST_CASE("the host is the given one, loopback, or the way to the first server") {
  GlooOptions options;
  CHECK(ChooseGlooHost(options).status().code() == absl::StatusCode::kInvalidArgument);
  options.servers = {"127.0.0.1:7000", "localhost:7001"};
  CHECK(ChooseGlooHost(options).value() == "127.0.0.1");
  options.host = "eth0";
  CHECK(ChooseGlooHost(options).value() == "eth0");
  options.host.clear();
  options.servers = {"no port"};
  CHECK_FALSE(ChooseGlooHost(options).ok());
  options.servers = {"127.0.0.2:7000", "a.invalid:7001"};
  CHECK(ChooseGlooHost(options).value() == "127.0.0.1");  // The route to 127.0.0.2.
}

TEST_CASE("one worker needs nobody") {
  GlooOptions options;
  auto allreduce = MakeGlooAllReduce(options, nullptr);
  std::vector<float> values = {1, 2};
  CHECK(allreduce->Sum(std::span<float>(values)).ok());
  CHECK(values == std::vector<float>{1, 2});
}

}  // namespace
}  // namespace pagoda

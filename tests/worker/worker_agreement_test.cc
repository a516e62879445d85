#include "worker/worker_agreement.h"

#include <catch2/catch.hpp>
#include <functional>
#include <thread>

#include "tests/worker/thread_allreduce.h"

namespace pagoda {
namespace {

// Runs `body(allreduce)` on `n` workers at once.
void Together(int n, const std::function<void(AllReduce&)>& body) {
  ThreadAllReduceGroup group(n);
  std::vector<std::thread> threads;
  for (int r = 0; r < n; ++r) {
    threads.emplace_back([&, r] {
      ThreadAllReduce allreduce(&group, r);
      body(allreduce);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("worker 0's bytes reach everyone, at any length") {
  for (const int workers : {1, 2, 5}) {
    for (const size_t size : {0, 1, 3, 4, 5, 1001}) {
      std::string bytes;
      for (size_t i = 0; i < size; ++i) bytes.push_back(static_cast<char>(255 - i % 256));
      std::vector<std::string> got(static_cast<size_t>(workers));
      Together(workers, [&](AllReduce& allreduce) {
        const auto mine = allreduce.rank() == 0 ? bytes : std::string("ignored");
        const auto received = BroadcastBytes(allreduce, mine);
        if (received.ok()) got[static_cast<size_t>(allreduce.rank())] = *received;
      });
      for (const std::string& received : got) {
        CAPTURE(workers, size);
        REQUIRE(received == bytes);
      }
    }
  }
}

TEST_CASE("one worker's failure is everyone's, with its own words where it happened") {
  std::vector<absl::Status> got(3);
  Together(3, [&](AllReduce& allreduce) {
    const absl::Status mine =
        allreduce.rank() == 1 ? absl::NotFoundError("no file") : absl::OkStatus();
    got[static_cast<size_t>(allreduce.rank())] = AgreeOnStatus(allreduce, mine, "read the data");
  });
  REQUIRE(absl::IsNotFound(got[1]));
  for (const size_t other : {0, 2}) {
    REQUIRE(absl::IsAborted(got[other]));
    REQUIRE(got[other].message() == "worker 1 could not read the data");
  }
  Together(3, [&](AllReduce& allreduce) {
    got[static_cast<size_t>(allreduce.rank())] =
        AgreeOnStatus(allreduce, absl::OkStatus(), "read the data");
  });
  for (const absl::Status& status : got) REQUIRE(status.ok());
}

TEST_CASE("a value that differs in one bit is found, in the high half and in the low") {
  for (const uint64_t flip : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 63, uint64_t{1} << 32}) {
    std::vector<absl::Status> got(2);
    Together(2, [&](AllReduce& allreduce) {
      const uint64_t value = uint64_t{0xfedcba9876543210} ^ (allreduce.rank() == 1 ? flip : 0);
      got[static_cast<size_t>(allreduce.rank())] =
          CheckSameEverywhere(allreduce, value, "their weights");
    });
    for (const absl::Status& status : got) {
      CAPTURE(flip, status.ToString());
      REQUIRE(status.ok() == (flip == 0));
    }
  }
}

}  // namespace
}  // namespace pagoda

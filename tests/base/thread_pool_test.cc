#include "base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

namespace pagoda {

TEST_CASE("Each piece runs exactly once, for any counts") {
  for (int threads : {1, 2, 8}) {
    ThreadPool pool(threads);
    REQUIRE(pool.num_threads() == threads);
    for (int64_t count : {-1, 0, 1, 2, 17, 1023}) {
      CAPTURE(threads, count);
      std::vector<std::atomic<int>> runs(static_cast<size_t>(std::max<int64_t>(count, 0)));
      pool.ParallelFor(count, [&](int64_t i) { ++runs[static_cast<size_t>(i)]; });
      for (const auto& r : runs) REQUIRE(r.load() == 1);
    }
  }
}

TEST_CASE("What the pieces wrote is visible after the loop, without atomics") {
  ThreadPool pool(4);
  std::vector<int64_t> values(64, 0);
  for (int64_t round = 1; round <= 2000; ++round) {
    pool.ParallelFor(64, [&](int64_t i) { values[static_cast<size_t>(i)] += i + round; });
  }
  for (int64_t i = 0; i < 64; ++i) {
    REQUIRE(values[static_cast<size_t>(i)] == 2000 * i + 2000 * 2001 / 2);
  }
}

TEST_CASE("No body runs after its loop has returned") {
  ThreadPool pool(8);
  for (int round = 0; round < 3000; ++round) {
    // A body that came late would write to a dead stack frame; sanitizers see
    // it, and so does the count.
    std::atomic<int> done{0};
    const int64_t count = round % 3 + 1;
    pool.ParallelFor(count, [&](int64_t) { done.fetch_add(1); });
    REQUIRE(done.load() == count);
  }
}

TEST_CASE("Several threads may loop at once, each seeing its own pieces done") {
  ThreadPool pool(3);
  constexpr int kCallers = 4, kRounds = 300, kPieces = 37;
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        std::vector<int> mine(kPieces, 0);
        pool.ParallelFor(kPieces, [&](int64_t i) { mine[static_cast<size_t>(i)] += 1; });
        for (int value : mine) wrong += value == 1 ? 0 : 1;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  REQUIRE(wrong.load() == 0);
}

TEST_CASE("All threads take part when every piece waits for the others") {
  constexpr int kThreads = 4;
  ThreadPool pool(kThreads);
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> arrived{0};
    pool.ParallelFor(kThreads, [&](int64_t) {
      ++arrived;
      while (arrived.load() < kThreads) std::this_thread::yield();
    });
    REQUIRE(arrived.load() == kThreads);
  }
}

TEST_CASE("A pool wakes again after its threads have gone to sleep") {
  ThreadPool pool(4);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    std::atomic<int64_t> sum{0};
    pool.ParallelFor(100, [&](int64_t i) { sum += i; });
    REQUIRE(sum.load() == 4950);
  }
}

TEST_CASE("A pool that never ran ends at once") {
  for (int round = 0; round < 20; ++round) ThreadPool pool(8);
  SUCCEED();
}

}  // namespace pagoda

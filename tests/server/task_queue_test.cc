#include "server/task_queue.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <future>
#include <vector>

namespace pagoda {
namespace {

TEST_CASE("one thread runs tasks in order of arrival") {
  std::vector<int> order;
  {
    TaskQueue queue(1, 1000);
    for (int i = 0; i < 500; ++i) REQUIRE(queue.TryAdd([&order, i] { order.push_back(i); }));
  }
  REQUIRE(order.size() == 500);
  for (int i = 0; i < 500; ++i) CHECK(order[static_cast<size_t>(i)] == i);
}

TEST_CASE("several threads run every task once, also those that wait at the end") {
  std::atomic<int> sum{0};
  {
    TaskQueue queue(4, 1000);
    for (int i = 1; i <= 1000; ++i) {
      while (!queue.TryAdd([&sum, i] { sum += i; })) std::this_thread::yield();
    }
  }
  CHECK(sum == 500500);
}

TEST_CASE("a full queue refuses, and leaves the task with its owner") {
  // Before the queue: its destructor waits for the task, which uses them.
  std::promise<void> started, release;
  std::future<void> released = release.get_future();
  TaskQueue queue(1, 2);
  REQUIRE(queue.TryAdd([&] {
    started.set_value();
    released.wait();
  }));
  started.get_future().wait();
  CHECK(queue.TryAdd([] {}));
  CHECK(queue.TryAdd([] {}));
  std::function<void()> task = [] {};
  CHECK_FALSE(queue.TryAdd(std::move(task)));
  CHECK(static_cast<bool>(task));
  release.set_value();
}

}  // namespace
}  // namespace pagoda

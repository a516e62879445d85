// A few threads that run short tasks in order of arrival, with a bound on how many
// may wait: what a server does with requests, so that its network threads are
// always free to answer heartbeats.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace pagoda {

// Threads: any method, any thread.
class TaskQueue {
 public:
  // REQUIRES: num_threads >= 1.
  TaskQueue(int num_threads, size_t waiting_max);
  // Runs what waits, then ends.
  ~TaskQueue();
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;

  // False, and `task` is untouched, when `waiting_max` tasks wait already.
  bool TryAdd(std::function<void()>&& task);

 private:
  void Run();

  const size_t waiting_max_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace pagoda

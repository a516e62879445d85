#include "server/task_queue.h"

#include <utility>

#include "base/status_macros.h"

namespace pagoda {

TaskQueue::TaskQueue(int num_threads, size_t waiting_max) : waiting_max_(waiting_max) {
  PAGODA_CHECK(num_threads >= 1);
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { Run(); });
}

TaskQueue::~TaskQueue() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool TaskQueue::TryAdd(std::function<void()>&& task) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (tasks_.size() >= waiting_max_) return false;
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
  return true;
}

void TaskQueue::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stop_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    task = nullptr;  // What it holds ends without the lock.
    lock.lock();
  }
}

}  // namespace pagoda

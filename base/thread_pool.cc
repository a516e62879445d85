#include "base/thread_pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "base/status_macros.h"

namespace pagoda {

struct ThreadPool::State {
  int num_threads = 1;
  std::mutex loop_mutex;  // Held by the one caller whose loop is running.

  std::mutex mutex;  // Guards what follows.
  std::condition_variable wake;
  std::condition_variable idle;
  const std::function<void(int64_t)>* body = nullptr;
  int64_t count = 0;
  uint64_t generation = 0;
  int running = 0;  // Helpers that are inside the current loop.
  bool stop = false;

  std::atomic<int64_t> next{0};
  std::vector<std::thread> threads;

  void RunPieces(const std::function<void(int64_t)>& f, int64_t n) {
    for (int64_t i = next.fetch_add(1); i < n; i = next.fetch_add(1)) f(i);
  }

  void Helper() {
    uint64_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      wake.wait(lock, [&] { return stop || (generation != seen && body != nullptr); });
      if (stop) return;
      seen = generation;
      const std::function<void(int64_t)>* f = body;
      const int64_t n = count;
      ++running;
      lock.unlock();
      RunPieces(*f, n);
      lock.lock();
      if (--running == 0) idle.notify_all();
    }
  }
};

ThreadPool::ThreadPool(int num_threads) : state_(std::make_unique<State>()) {
  PAGODA_CHECK(num_threads >= 1);
  state_->num_threads = num_threads;
  for (int i = 1; i < num_threads; ++i) {
    state_->threads.emplace_back([state = state_.get()] { state->Helper(); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stop = true;
  }
  state_->wake.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

int ThreadPool::num_threads() const {
  return state_->num_threads;
}

void ThreadPool::ParallelFor(int64_t count, const std::function<void(int64_t)>& body) {
  if (count <= 0) return;
  if (count == 1 || state_->num_threads == 1) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  std::lock_guard<std::mutex> loop(state_->loop_mutex);
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->body = &body;
    state_->count = count;
    state_->next.store(0);
    ++state_->generation;
  }
  state_->wake.notify_all();
  state_->RunPieces(body, count);
  std::unique_lock<std::mutex> lock(state_->mutex);
  state_->body = nullptr;  // No helper may join from here on.
  state_->idle.wait(lock, [&] { return state_->running == 0; });
}

}  // namespace pagoda

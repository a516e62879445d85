#include "base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "base/status_macros.h"

namespace pagoda {

namespace {

// How long a thread looks for the next loop, or for the end of this one, before
// it sleeps. Waking a sleeper takes 5 to 50 us, on virtual machines more; between
// two operators of a training step less than that passes.
constexpr std::chrono::microseconds kSpin{100};

// Returns when ready() holds, or after kSpin. `spin` false: at once.
template <typename Ready>
void SpinUntil(bool spin, const Ready& ready) {
  if (!spin || ready()) return;
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      if (ready()) return;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    // On a busy machine the thread waited for may need this very core.
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < end);
}

}  // namespace

struct ThreadPool::State {
  int num_threads = 1;
  bool spin = false;      // Only where each thread can have a core.
  std::mutex loop_mutex;  // Held by the one caller whose loop is running.

  std::mutex mutex;  // Guards what follows; the atomics are also read without it.
  std::condition_variable wake;
  std::condition_variable idle;
  const std::function<void(int64_t)>* body = nullptr;  // Null: no loop to join.
  int64_t count = 0;
  int sleeping = 0;
  std::atomic<uint64_t> generation{0};  // Loops begun.
  std::atomic<int> running{0};          // Helpers that are inside the current loop.
  std::atomic<bool> stop{false};

  std::atomic<int64_t> next{0};
  std::vector<std::thread> threads;

  void RunPieces(const std::function<void(int64_t)>& f, int64_t n) {
    for (int64_t i = next.fetch_add(1); i < n; i = next.fetch_add(1)) f(i);
  }

  void Helper() {
    uint64_t seen = 0;
    const auto news = [&] { return stop.load() || generation.load() != seen; };
    for (;;) {
      SpinUntil(spin, news);
      std::unique_lock<std::mutex> lock(mutex);
      ++sleeping;
      wake.wait(lock, news);
      --sleeping;
      if (stop.load()) return;
      seen = generation.load();
      if (body == nullptr) continue;  // That loop is over already.
      const std::function<void(int64_t)>* f = body;
      const int64_t n = count;
      running.fetch_add(1);
      lock.unlock();
      RunPieces(*f, n);
      lock.lock();
      if (running.fetch_sub(1) == 1) idle.notify_all();
    }
  }
};

ThreadPool::ThreadPool(int num_threads) : state_(std::make_unique<State>()) {
  PAGODA_CHECK(num_threads >= 1);
  state_->num_threads = num_threads;
  state_->spin = static_cast<unsigned>(num_threads) <= std::thread::hardware_concurrency();
  for (int i = 1; i < num_threads; ++i) {
    state_->threads.emplace_back([state = state_.get()] { state->Helper(); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stop.store(true);
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
  bool sleepers = false;
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->body = &body;
    state_->count = count;
    state_->next.store(0);
    state_->generation.fetch_add(1);
    sleepers = state_->sleeping > 0;
  }
  if (sleepers) state_->wake.notify_all();
  state_->RunPieces(body, count);
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->body = nullptr;  // No helper may join from here on.
  }
  const auto done = [&] { return state_->running.load() == 0; };
  SpinUntil(state_->spin, done);
  if (done()) return;
  std::unique_lock<std::mutex> lock(state_->mutex);
  state_->idle.wait(lock, done);
}

}  // namespace pagoda

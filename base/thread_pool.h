// A fixed set of threads for loops whose pieces do not depend on one another.
//
// Results must not depend on the number of threads (DESIGN ruling 3): callers
// cut work into pieces of a fixed size, give each piece its own output, and add
// partial results in piece order afterwards.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace pagoda {

class ThreadPool {
 public:
  // `num_threads` counts the caller of ParallelFor: 1 starts no thread at all.
  //   REQUIRES: num_threads >= 1.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const;

  // Calls body(i) once for every i in [0, count), on the pool's threads and on
  // this one, and returns when all are done. Bodies must not throw, and must not
  // call ParallelFor on the same pool. Several threads may call at once; their
  // loops then run one after another.
  void ParallelFor(int64_t count, const std::function<void(int64_t)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pagoda

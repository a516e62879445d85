// An AllReduce for workers that are threads of one test: sums in rank order, so that
// every worker ends with the same bits, and every wait has a deadline.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/allreduce.h"

namespace pagoda {

// What the workers share. `timeout`: how long a call waits for the slowest peer.
class ThreadAllReduceGroup {
 public:
  explicit ThreadAllReduceGroup(int num_workers,
                                std::chrono::milliseconds timeout = std::chrono::seconds(20))
      : num_workers_(num_workers),
        timeout_(timeout),
        inputs_(static_cast<size_t>(num_workers), nullptr) {}

  int num_workers() const { return num_workers_; }

  // A worker has died: every call fails from now on.
  void Break(int rank) {
    std::lock_guard lock(mutex_);
    broken_rank_ = rank;
    changed_.notify_all();
  }

  // Leaves `input` where all can see it, lets the last comer run `combine` over all
  // inputs in rank order, lets every worker `take` the outcome, and returns when all
  // have done so.
  absl::Status Meet(int rank, void* input, const std::function<void()>& combine,
                    const std::function<void()>& take) {
    std::unique_lock lock(mutex_);
    inputs_[static_cast<size_t>(rank)] = input;
    if (++arrived_ == num_workers_) {
      combine();
      arrived_ = 0;
      ++generation_;
      changed_.notify_all();
    } else if (absl::Status met = Await(lock, generation_ + 1); !met.ok()) {
      return met;
    }
    take();
    if (++arrived_ == num_workers_) {
      arrived_ = 0;
      ++generation_;
      changed_.notify_all();
      return absl::OkStatus();
    }
    return Await(lock, generation_ + 1);
  }

  void* input(int rank) { return inputs_[static_cast<size_t>(rank)]; }
  std::vector<double> scratch;  // Of the combine that runs.

 private:
  absl::Status Await(std::unique_lock<std::mutex>& lock, int64_t generation) {
    const bool met = changed_.wait_for(
        lock, timeout_, [&] { return generation_ >= generation || broken_rank_ >= 0; });
    if (generation_ >= generation) return absl::OkStatus();
    if (!met) return absl::DeadlineExceededError("allreduce: a peer did not come");
    return absl::UnavailableError(
        absl::StrCat("allreduce: connection to worker ", broken_rank_, " closed"));
  }

  const int num_workers_;
  const std::chrono::milliseconds timeout_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<void*> inputs_;
  int arrived_ = 0;
  int64_t generation_ = 0;
  int broken_rank_ = -1;
};

class ThreadAllReduce final : public AllReduce {
 public:
  ThreadAllReduce(ThreadAllReduceGroup* group, int rank) : group_(group), rank_(rank) {}

  int rank() const override { return rank_; }
  int num_workers() const override { return group_->num_workers(); }
  absl::Status Sum(std::span<float> values) override { return SumOf(values); }
  absl::Status Sum(std::span<double> values) override { return SumOf(values); }
  absl::StatusOr<std::vector<double>> Gather(std::span<const double> values) override {
    std::vector<double> mine(values.begin(), values.end()), gathered;
    const absl::Status met = group_->Meet(
        rank_, &mine,
        [this] {
          group_->scratch.clear();
          for (int r = 0; r < num_workers(); ++r) {
            const auto& theirs = *static_cast<std::vector<double>*>(group_->input(r));
            group_->scratch.insert(group_->scratch.end(), theirs.begin(), theirs.end());
          }
        },
        [&] { gathered = group_->scratch; });
    if (!met.ok()) return met;
    return gathered;
  }
  absl::Status Barrier() override {
    return group_->Meet(
        rank_, nullptr, [] {}, [] {});
  }

 private:
  template <typename T>
  absl::Status SumOf(std::span<T> values) {
    std::vector<T> sum;
    return group_->Meet(
        rank_, &values,
        [this] {
          auto& first = *static_cast<std::span<T>*>(group_->input(0));
          std::vector<T> total(first.begin(), first.end());
          for (int r = 1; r < num_workers(); ++r) {
            auto& theirs = *static_cast<std::span<T>*>(group_->input(r));
            PAGODA_CHECK(theirs.size() == total.size());
            for (size_t i = 0; i < total.size(); ++i) total[i] += theirs[i];
          }
          for (int r = 0; r < num_workers(); ++r) {
            auto& theirs = *static_cast<std::span<T>*>(group_->input(r));
            std::copy(total.begin(), total.end(), theirs.begin());
          }
        },
        [] {});
  }

  ThreadAllReduceGroup* const group_;
  const int rank_;
};

}  // namespace pagoda

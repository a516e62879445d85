#include "server/sync_step.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "server/gradient_merge.h"

namespace pagoda {

absl::Status SyncStep::Check(const PushHeader& header) const {
  const std::string who = absl::StrCat("worker ", header.rank, " pushes step ", header.step);
  if (header.step <= applied_step_) {
    return absl::FailedPreconditionError(
        absl::StrCat(who, ", but step ", applied_step_, " has been applied already"));
  }
  if (applying_ || (!pushes_.empty() && header.step != step_)) {
    return absl::FailedPreconditionError(
        absl::StrCat(who, " while step ", step_, " is being gathered"));
  }
  for (const WorkerPush& push : pushes_) {
    if (push.header.rank == header.rank) {
      return absl::FailedPreconditionError(absl::StrCat(who, " twice"));
    }
    if (push.header.learning_rate_factor != header.learning_rate_factor) {
      return absl::FailedPreconditionError(absl::StrCat(
          who, " with learning rate factor ", header.learning_rate_factor, ", but worker ",
          push.header.rank, " did with ", push.header.learning_rate_factor));
    }
  }
  return absl::OkStatus();
}

void SyncStep::Add(WorkerPush push) {
  step_ = push.header.step;
  applied_step_ = std::max(applied_step_, step_ - 1);
  const auto after = std::find_if(pushes_.begin(), pushes_.end(), [&](const WorkerPush& other) {
    return other.header.rank > push.header.rank;
  });
  pushes_.insert(after, std::move(push));
}

std::vector<WorkerPush> SyncStep::Take() {
  applying_ = true;
  std::vector<WorkerPush> taken;
  taken.swap(pushes_);
  return taken;
}

void SyncStep::Finish(bool applied) {
  applying_ = false;
  if (applied) applied_step_ = step_;
  step_ = 0;
}

void SyncStep::Reset(Step applied_step) {
  *this = SyncStep();
  applied_step_ = applied_step;
}

PushOrigin OriginOf(const PushHeader& header) {
  return {HashBytes(absl::StrCat(header.rank, " of ", header.job)), header.incarnation,
          header.sequence};
}

absl::Status ApplyPushes(std::span<const WorkerPush> pushes, const ServedTables& served,
                         EmbeddingStore& store, ThreadPool* pool) {
  if (pushes.empty()) return absl::OkStatus();
  std::map<uint32_t, std::vector<GradientRows>> by_table;  // Contributions in rank order.
  for (const WorkerPush& push : pushes) {
    for (const ServicePush& table : push.tables) {
      if (!table.ids.empty()) by_table[table.table].push_back({table.ids, table.gradients});
    }
  }
  const std::vector<uint32_t> exact = served.ExactTables();
  if (by_table.empty() && exact.empty()) return absl::OkStatus();
  std::vector<MergedGradients> merged;
  merged.reserve(by_table.size());  // The spans below point into it.
  std::vector<StorePush> store_pushes;
  for (const auto& [table, contributions] : by_table) {
    const ServedTables::Entry* entry = served.Get(table);
    if (entry == nullptr) {
      return absl::NotFoundError(absl::StrCat("there is no table of index ", table));
    }
    if (contributions.size() == 1) {
      store_pushes.push_back(
          {entry->store_index, contributions[0].ids, contributions[0].gradients});
      continue;
    }
    merged.push_back(MergeGradients(contributions, entry->options.dim, pool));
    store_pushes.push_back({entry->store_index, merged.back().ids, merged.back().gradients});
  }
  for (const uint32_t table : exact) {
    if (!by_table.contains(table)) store_pushes.push_back({served.Get(table)->store_index, {}, {}});
  }
  const PushHeader& header = pushes.front().header;
  // A step of several workers has no single origin; its retries are known for as long
  // as the service lives.
  const bool once = pushes.size() == 1 && header.sequence != 0;
  const absl::Status pushed =
      once
          ? store.PushOnce(OriginOf(header), store_pushes, header.step, header.learning_rate_factor)
          : store.Push(store_pushes, header.step, header.learning_rate_factor);
  PAGODA_RETURN_IF_ERROR_CONTEXT(pushed, absl::StrCat("step ", header.step));
  return absl::OkStatus();
}

}  // namespace pagoda

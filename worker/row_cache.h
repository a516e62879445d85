// Rows that batches keep asking for, kept in a GPU's memory, so that they are neither
// pulled nor copied in again (DESIGN ruling 12). Read-only: servers update rows, and the
// new ones come back with the acknowledgement of a push. A row has a version, the step
// after which it was read, and is given up when that is too long ago: with several async
// workers the others' pushes are seen no later than that, and the batches that are pulled
// ahead and pushes in flight, which async mode has anyway. A slot takes 40 bytes of the
// host's memory beside the device's row, and an entry of a hash map. Not for sync jobs of several
// workers, exact tables (every step changes all their rows), nor tables that evict rows;
// see CanCache. Nor tables whose rows' statistics the model reads: they do not come back with
// a push.
//
// A row gets in when it has been asked for twice not long ago, in the place of one that
// nobody asked for lately. Which rows are in it changes no numbers in sync mode.
//
// Threads: the context's, one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "algorithms/nn/batch.h"
#include "algorithms/nn/declaration.h"
#include "algorithms/nn/step_upload.h"
#include "base/ids.h"
#include "kernels/context.h"
#include "kernels/copy_queue.h"
#include "proto/parameter_server.pb.h"

namespace pagoda {

// Whether a table's rows change by this worker's own pushes alone, or, in async mode, may
// be read a little late.
bool CanCache(const proto::TableSpec& table, const std::string& mode, int num_workers);

struct RowCacheOptions {
  int64_t bytes_max = 0;  // Of device memory, for rows.
  Step age_max = 64;      // Steps since a row was read.
};

struct RowCacheStats {
  int64_t lookups = 0;  // Unique rows of batches.
  int64_t hits = 0;
  int64_t admitted = 0;
  int64_t evicted = 0;
  int64_t aged = 0;  // Not hits, though there: too old.
};

// A batch's rows that are in the cache. They stay there until Unpin.
struct CachedRows {
  // Per table, ascending positions in unique_ids, and the rows' slots.
  std::vector<std::vector<int32_t>> positions;
  std::vector<std::vector<int32_t>> slots;
  bool IsHit(size_t table, int32_t position) const;
};

class RowCache {
 public:
  // `can_cache`: per table. The budget is shared by the dimensions in proportion to their
  // rows' size.
  //   INVALID_ARGUMENT    the budget does not hold one row of each dimension
  //   RESOURCE_EXHAUSTED  the device is full
  static absl::StatusOr<std::unique_ptr<RowCache>> Create(Context& ctx,
                                                          const Declaration& declaration,
                                                          const std::vector<bool>& can_cache,
                                                          const RowCacheOptions& options);

  // Finds the rows of a batch that will be used in step `step`, and keeps them.
  CachedRows Pin(const PreparedBatch& batch, Step step);
  void Unpin(const CachedRows& cached);

  // Writes cached rows to their places among a batch's rows of one group, `columns` of
  // them: to [the group's num_rows, columns' width].
  absl::Status Fill(CopyQueue& queue, const PreparedBatch& batch, const CachedRows& cached,
                    const RowColumns& columns, const Tensor& to);
  // The same to the host: rows[t] is [num_unique, dim]. For messages.
  absl::Status ReadBack(const CachedRows& cached, const std::vector<float*>& rows);

  // Takes in those of a batch's other rows that are worth it, as they are on the host
  // (rows[t] at `positions`), read after step `version`.
  absl::Status Admit(CopyQueue& queue, const PreparedBatch& batch, const CachedRows& cached,
                     const std::vector<const float*>& rows, Step version);

  // Which of the ids that are pushed are in the cache: positions, ascending.
  std::vector<uint32_t> Find(size_t table, std::span<const FeatureId> ids) const;
  // Their rows after step `version`, [positions.size(), dim].
  absl::Status Update(CopyQueue& queue, size_t table, std::span<const FeatureId> ids,
                      std::span<const uint32_t> positions, const float* rows, Step version);

  const RowCacheStats& stats() const { return stats_; }
  int64_t num_slots() const;

 private:
  struct Slot {
    int table = -1;  // -1: free.
    FeatureId id = 0;
    Step used = 0;     // The last step that asked for it.
    Step version = 0;  // The step after which it was read.
    int pins = 0;
  };
  // The rows of all tables of one dimension.
  struct Group {
    int64_t dim = 0;
    Tensor rows;  // [slots, dim]
    std::vector<Slot> slots;
    size_t hand = 0;  // Where the search for a victim goes on.
  };
  // Rows to be written to slots.
  struct Writes {
    std::vector<float> rows;
    std::vector<int32_t> slots;
  };

  explicit RowCache(Context& ctx, const RowCacheOptions& options)
      : ctx_(ctx), options_(options), seen_(kSeen) {}
  Group& GroupOf(size_t table) { return groups_[static_cast<size_t>(group_of_[table])]; }
  const Group& GroupOf(size_t table) const {
    return groups_[static_cast<size_t>(group_of_[table])];
  }
  int32_t SlotOf(size_t table, FeatureId id) const;  // -1: not there.
  bool SeenBefore(size_t table, FeatureId id);
  // A slot to write to; -1: all are in use.
  int32_t TakeSlot(Group& group, Step step);
  absl::Status Write(CopyQueue& queue, Group& group, const Writes& writes);

  static constexpr size_t kSeen = size_t{1} << 20;

  Context& ctx_;
  const RowCacheOptions options_;
  std::vector<int> group_of_;  // Per table; -1: not cached.
  std::vector<Group> groups_;
  std::vector<std::unordered_map<FeatureId, int32_t>> slot_of_;  // Per table.
  std::vector<uint8_t> seen_;  // How often, by hash; halved now and then.
  int64_t seen_since_halved_ = 0;
  RowCacheStats stats_;
};

}  // namespace pagoda

#include "algorithms/nn/sequence_layout.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "algorithms/nn/attention.h"
#include "algorithms/nn/op_node.h"
#include "kernels/rotary_embedding.h"

namespace pagoda::nn {
namespace {

// Apart by more than any sequence's length, so that counters of two rows never meet.
constexpr uint64_t kPositionsPerSequence = 65536;

// Of the groups by length: the longest of the first, and the scores of one head for which parting
// costs less than the padding.
constexpr int64_t kShortSequence = 4;
constexpr int64_t kScoresWorthGroups = int64_t{1} << 16;

template <typename T>
absl::StatusOr<Tensor> UploadAll(Context& ctx, const std::vector<T>& values) {
  return ctx.Upload<T>(values, {static_cast<int64_t>(values.size())});
}

}  // namespace

SequenceLayout::SequenceLayout(Tape& tape, std::vector<int32_t> offsets, uint64_t first_sequence)
    : tape_(&tape), offsets_(std::move(offsets)) {
  if (offsets_.empty() || offsets_.front() != 0 ||
      !std::is_sorted(offsets_.begin(), offsets_.end())) {
    tape.Fail(absl::InvalidArgumentError(
        "SequenceLayout: the offsets of sequences do not ascend from 0"));
    offsets_ = {0};
  }
  lengths_.reserve(offsets_.size() - 1);
  positions_.reserve(static_cast<size_t>(offsets_.back()));
  for (size_t i = 0; i + 1 < offsets_.size(); ++i) {
    lengths_.push_back(offsets_[i + 1] - offsets_[i]);
    for (int32_t p = 0; p < lengths_.back(); ++p) positions_.push_back(p);
    length_ = std::max<int64_t>(length_, lengths_.back());
    numbers_.push_back(first_sequence + i);
  }
}

SequenceLayout::Group SequenceLayout::MakeGroup(const std::vector<size_t>& places) const {
  std::vector<int32_t> offsets = {0}, rows;
  for (const size_t i : places) {
    for (int32_t row = offsets_[i]; row < offsets_[i + 1]; ++row) rows.push_back(row);
    offsets.push_back(static_cast<int32_t>(rows.size()));
  }
  Group group = {SequenceLayout(*tape_, std::move(offsets), 0), std::move(rows), {}};
  for (size_t k = 0; k < places.size(); ++k) group.layout.numbers_[k] = numbers_[places[k]];
  return group;
}

const std::vector<SequenceLayout::Group>& SequenceLayout::Groups() const {
  if (grouped_) return groups_;
  grouped_ = true;
  std::map<int64_t, std::vector<size_t>> places;  // By the longest length of a group.
  for (size_t i = 0; i < lengths_.size(); ++i) {
    int64_t most = kShortSequence;
    while (most < lengths_[i]) most *= 2;
    if (lengths_[i] > 0) places[most].push_back(i);
  }
  int64_t padded = 0;
  for (const auto& [most, of_group] : places) {
    padded += static_cast<int64_t>(of_group.size()) * most * most;
  }
  const int64_t together = size() * length_ * length_;
  if (together < kScoresWorthGroups || together < 2 * padded) return groups_;
  std::vector<int32_t> order(positions_.size());
  int32_t place = 0;
  for (const auto& [most, of_group] : places) {
    Group group = MakeGroup(of_group);
    for (const int32_t row : group.rows) order[static_cast<size_t>(row)] = place++;
    Kept(&group.gather, [&](Context& ctx) { return MakeRowGather(ctx, group.rows, num_rows()); });
    groups_.push_back(std::move(group));
  }
  Kept(&join_groups_, [&](Context& ctx) { return MakeRowGather(ctx, order, num_rows()); });
  return groups_;
}

Var SequenceLayout::JoinGroups(const std::vector<Var>& parts) const {
  return GatherRows(ConcatRows(parts), {0, num_rows()}, join_groups_);
}

template <typename T, typename Make>
T SequenceLayout::Kept(T* kept, const Make& make) const {
  if (!tape_->status().ok()) return T();
  absl::StatusOr<T> made = make(tape_->ctx());
  if (!made.ok()) {
    tape_->Fail(WithContext(made.status(), "SequenceLayout"));
    return T();
  }
  *kept = *made;
  return *std::move(made);
}

std::vector<int32_t> SequenceLayout::LastRows() const {
  std::vector<int32_t> rows;
  rows.reserve(lengths_.size());
  for (size_t i = 0; i < lengths_.size(); ++i) {
    rows.push_back(lengths_[i] > 0 ? offsets_[i + 1] - 1 : -1);
  }
  return rows;
}

Tensor SequenceLayout::DeviceOffsets() const {
  if (!device_offsets_.absent()) return device_offsets_;
  return Kept(&device_offsets_, [&](Context& ctx) { return UploadAll(ctx, offsets_); });
}

Var SequenceLayout::Pad(const Var& rows) const {
  return PadSequences(rows, DeviceOffsets(), length_);
}

Var SequenceLayout::Unpad(const Var& block) const {
  return UnpadSequences(block, DeviceOffsets(), num_rows());
}

Var SequenceLayout::SumRows(const Var& rows) const {
  return SegmentPool(rows, DeviceOffsets(), SegmentPooling::kSum);
}

Var SequenceLayout::Repeat(const Var& x) const {
  if (repeat_.inverse.absent()) {
    std::vector<int32_t> sequences;
    sequences.reserve(positions_.size());
    for (size_t i = 0; i < lengths_.size(); ++i) {
      sequences.insert(sequences.end(), static_cast<size_t>(lengths_[i]), static_cast<int32_t>(i));
    }
    Kept(&repeat_, [&](Context& ctx) { return MakeRowGather(ctx, sequences, size()); });
  }
  return GatherRows(x, {0, size()}, repeat_);
}

Var SequenceLayout::TakePositions(const Var& table, PositionOrder order) const {
  if (!table.valid() || table.shape().empty()) return Var();
  const int64_t most = table.shape()[0];
  RowGather& gather = position_gathers_[{most, order}];
  if (gather.inverse.absent()) {
    std::vector<int32_t> rows = positions_;
    if (order == PositionOrder::kFromEnd) {
      for (size_t i = 0, row = 0; i < lengths_.size(); ++i) {
        for (int32_t p = 0; p < lengths_[i]; ++p, ++row) {
          rows[row] = static_cast<int32_t>(most) - lengths_[i] + p;
        }
      }
    }
    Kept(&gather, [&](Context& ctx) -> absl::StatusOr<RowGather> {
      if (length_ > most) {
        return absl::InvalidArgumentError(
            absl::StrCat("a sequence of ", length_, " positions, and a table of ", most));
      }
      return MakeRowGather(ctx, rows, most);
    });
  }
  return GatherRows(table, {0, most}, gather);
}

RotaryTable SequenceLayout::Rotary(int64_t width, double base) const {
  if (device_positions_.absent()) {
    Kept(&device_positions_, [&](Context& ctx) { return UploadAll(ctx, positions_); });
  }
  Tensor& turns = turns_[{width, base}];
  if (turns.absent()) {
    Kept(&turns, [&](Context& ctx) -> absl::StatusOr<Tensor> {
      if (width % 2 != 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("a head of ", width, " columns has no whole pairs to turn"));
      }
      return ctx.Upload<float>(RotaryTurns(length_, width, base), {length_, width});
    });
  }
  return {device_positions_, turns};
}

Tensor SequenceLayout::KeyCounts(int64_t heads, int64_t num_queries, bool causal) const {
  Tensor& counts = key_counts_[{heads, num_queries, causal}];
  if (!counts.absent()) return counts;
  return Kept(&counts, [&](Context& ctx) {
    const AttentionOptions options = {.heads = heads, .causal = causal};
    return UploadAll(ctx, AttentionKeyCounts(lengths_, num_queries, options));
  });
}

Tensor SequenceLayout::RowCounters(int64_t width) const {
  Tensor& kept = row_counters_[width];
  if (!kept.absent()) return kept;
  std::vector<int64_t> counters;
  counters.reserve(positions_.size());
  for (size_t i = 0; i < lengths_.size(); ++i) {
    const uint64_t first = numbers_[i] * kPositionsPerSequence;
    for (int32_t p = 0; p < lengths_[i]; ++p) {
      counters.push_back(
          static_cast<int64_t>((first + static_cast<uint64_t>(p)) * static_cast<uint64_t>(width)));
    }
  }
  return Kept(&kept, [&](Context& ctx) { return UploadAll(ctx, counters); });
}

Tensor SequenceLayout::WeightCounters(int64_t heads, int64_t num_queries) const {
  Tensor& kept = weight_counters_[{heads, num_queries}];
  if (!kept.absent()) return kept;
  std::vector<int64_t> counters;
  counters.reserve(lengths_.size() * static_cast<size_t>(heads * num_queries));
  for (size_t i = 0; i < lengths_.size(); ++i) {
    for (int64_t h = 0; h < heads; ++h) {
      const uint64_t head = numbers_[i] * static_cast<uint64_t>(heads) + static_cast<uint64_t>(h);
      for (int64_t j = 0; j < num_queries; ++j) {
        const uint64_t row = head * kPositionsPerSequence + static_cast<uint64_t>(j);
        counters.push_back(static_cast<int64_t>(row * kPositionsPerSequence));
      }
    }
  }
  return Kept(&kept, [&](Context& ctx) { return UploadAll(ctx, counters); });
}

RaggedRows KeepLastRows(const std::vector<int32_t>& offsets, int64_t most) {
  RaggedRows kept;
  kept.offsets.push_back(0);
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    const int64_t first = std::max<int64_t>(offsets[i], offsets[i + 1] - most);
    for (int64_t row = first; row < offsets[i + 1]; ++row) {
      kept.rows.push_back(static_cast<int32_t>(row));
    }
    kept.offsets.push_back(static_cast<int32_t>(kept.rows.size()));
  }
  return kept;
}

RaggedRows AppendRows(const std::vector<int32_t>& offsets) {
  RaggedRows longer;
  longer.offsets.push_back(0);
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    for (int32_t row = offsets[i]; row < offsets[i + 1]; ++row) longer.rows.push_back(row);
    longer.rows.push_back(offsets.back() + static_cast<int32_t>(i));
    longer.offsets.push_back(static_cast<int32_t>(longer.rows.size()));
  }
  return longer;
}

Var TakeRows(const Var& x, const std::vector<int32_t>& rows) {
  return RunOp("TakeRows", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 2));
    const int64_t num_rows = x.shape()[0];
    PAGODA_ASSIGN_OR_RETURN(const RowGather gather, MakeRowGather(tape.ctx(), rows, num_rows));
    return GatherRows(x, {0, num_rows}, gather);
  });
}

}  // namespace pagoda::nn

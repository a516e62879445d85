// Where the positions of a batch's sequences lie, and what layers ask about that.
//
// Layers of sequences work on ragged rows [num_rows, d], the positions of all sequences one
// after another, so that nothing is computed for padding and nothing in it can matter. Only
// attention pads, to the longest sequence, between Pad and Unpad; where that would be mostly
// padding, self-attention works on Groups of sequences of like lengths.
//
//   SequenceLayout layout(input.tape(), *sequence.offsets, input.host().batch.first_sample);
//   Var h = stack.Apply(input, sequence.values, layout);        // [num_rows, d]
//
// What is copied to the device is made when first asked for, and kept: a stack of blocks asks
// for the same again and again. Errors are the tape's, and what was asked for is then absent.
//
// Threads: as the tape, one thread. A layout must not outlive its tape.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "algorithms/nn/ops.h"
#include "algorithms/nn/tape.h"

namespace pagoda::nn {

// Positions counted from 0 at a sequence's first row, or at its last one backwards from
// `most` - 1 (as if every sequence were padded on the left to `most` positions).
enum class PositionOrder { kFromStart, kFromEnd };

class SequenceLayout {
 public:
  // Sequence i has the rows [offsets[i], offsets[i + 1]). `first_sequence` is the global index
  // of sequence 0, by which dropout is keyed.
  //   INVALID_ARGUMENT (the tape's)  offsets that do not ascend from 0; the layout is empty then
  SequenceLayout(Tape& tape, std::vector<int32_t> offsets, uint64_t first_sequence);

  // The sequences that have positions, parted by length (up to 4, 8, 16, ...); empty where all
  // of them together, padded, are small or not twice as large as the groups.
  struct Group;
  const std::vector<Group>& Groups() const;
  // parts[g] [rows of group g, d] -> [num_rows(), d]: the rows in their order in this layout.
  //   REQUIRES: a part for each of Groups(), which are not empty.
  Var JoinGroups(const std::vector<Var>& parts) const;

  Tape& tape() const { return *tape_; }
  int64_t size() const { return static_cast<int64_t>(lengths_.size()); }  // Sequences.
  int64_t num_rows() const { return offsets_.back(); }
  int64_t length() const { return length_; }  // Of the longest sequence.
  uint64_t first_sequence() const { return numbers_.empty() ? 0 : numbers_[0]; }
  const std::vector<int32_t>& offsets() const { return offsets_; }  // [size() + 1]
  const std::vector<int32_t>& lengths() const { return lengths_; }  // [size()]
  // Of each row, from 0 at its sequence's start.
  const std::vector<int32_t>& positions() const { return positions_; }  // [num_rows()]
  // Row of the last position of each sequence, -1 for one without any.
  std::vector<int32_t> LastRows() const;

  // [num_rows(), d] -> [size(), length(), d], zeros past an end; and back.
  Var Pad(const Var& rows) const;
  Var Unpad(const Var& block) const;
  // x [size(), d] -> [num_rows(), d]: a sequence's row at each of its positions.
  Var Repeat(const Var& x) const;
  // [num_rows(), d] -> [size(), d]: sums; exactly zero for a sequence without rows.
  Var SumRows(const Var& rows) const;
  // Rows of `table` [most, d] by position -> [num_rows(), d].
  //   INVALID_ARGUMENT (the tape's)  a sequence is longer than the table
  Var TakePositions(const Var& table, PositionOrder order) const;

  Tensor DeviceOffsets() const;  // i32 [size() + 1]
  // Turns of heads of `width` columns, for nn::RotaryEmbedding of [num_rows(), *].
  RotaryTable Rotary(int64_t width, double base) const;
  // AttentionOptions::key_counts, for keys of this layout.
  Tensor KeyCounts(int64_t heads, int64_t num_queries, bool causal) const;
  // Keyed by (sequence, position), so that a mask does not depend on the batch: of rows
  // [num_rows(), width], and of attention weights [size() * heads * num_queries, *].
  //   Sequences are shorter than 2^16 positions, or masks of neighbours repeat each other.
  Tensor RowCounters(int64_t width) const;
  Tensor WeightCounters(int64_t heads, int64_t num_queries) const;

 private:
  // Runs make() unless `kept` has it already.
  template <typename T, typename Make>
  T Kept(T* kept, const Make& make) const;
  // The layout of some sequences by their places, ascending, and their rows here.
  Group MakeGroup(const std::vector<size_t>& places) const;

  Tape* tape_;
  std::vector<int32_t> offsets_, lengths_, positions_;
  std::vector<uint64_t> numbers_;  // Global index of each sequence.
  int64_t length_ = 0;
  mutable bool grouped_ = false;
  mutable std::vector<Group> groups_;
  mutable RowGather join_groups_;
  mutable Tensor device_offsets_, device_positions_;
  mutable RowGather repeat_;
  mutable std::map<std::pair<int64_t, PositionOrder>, RowGather> position_gathers_;
  mutable std::map<std::pair<int64_t, double>, Tensor> turns_;
  mutable std::map<std::tuple<int64_t, int64_t, bool>, Tensor> key_counts_;
  mutable std::map<int64_t, Tensor> row_counters_;
  mutable std::map<std::pair<int64_t, int64_t>, Tensor> weight_counters_;
};

struct SequenceLayout::Group {
  SequenceLayout layout;      // Numbers and positions are those of the whole.
  std::vector<int32_t> rows;  // [layout.num_rows()] of the whole.
  RowGather gather;           // Of the same rows.
};

// Rows to gather (MakeRowGather), and the offsets that they then have.
struct RaggedRows {
  std::vector<int32_t> rows;
  std::vector<int32_t> offsets;
};
// The last `most` rows of each sequence.
RaggedRows KeepLastRows(const std::vector<int32_t>& offsets, int64_t most);
// Out of ConcatRows({rows [offsets.back(), d], x [n, d]}): each sequence with its row of x as
// one more position at its end (GPSD's candidate).
RaggedRows AppendRows(const std::vector<int32_t>& offsets);
// Rows of x by a list from the host, each in [0, rows of x); they may repeat.
Var TakeRows(const Var& x, const std::vector<int32_t>& rows);

}  // namespace pagoda::nn

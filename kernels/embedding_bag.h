// Gather and pooling of embedding rows over ragged ids, written straight into
// the columns of a wider output, so that tables need no concat afterwards.
//
//    segment s = sample * num_features + k, feature k of this table in this lookup
//    out[sample, columns[k], :] = pool over i in [offsets[s], offsets[s+1]) of rows[inverse[i], :]
// An empty segment pools to zero. sqrtn divides by sqrt(count).
//
// Values inside inverse, offsets and occurrence arrays are trusted: PrepareBatch
// makes them. Shapes, columns and pooling values are checked.
//
// The rows may be those of several tables, one after another: a lookup of one dim
// over 26 tables is one call.
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

struct EmbeddingBagIndex {
  int64_t batch = 0;
  int64_t num_features = 0;    // of this table
  Tensor inverse;              // i32 [nnz], in [0, num_unique)
  Tensor offsets;              // i32 [batch * num_features + 1]
  Tensor columns;              // i32 [num_features], feature position in out
  Tensor pooling;              // i32 [num_features], a Pooling value: 0 sum, 1 mean, 2 sqrtn
  Tensor occurrence_offsets;   // i32 [num_unique + 1]
  Tensor occurrence_segments;  // i32 [nnz], ascending within a row
};

// rows [num_unique, dim], out [batch, total_features, dim]: writes this table's features only.
//   INVALID_ARGUMENT  shapes disagree
absl::Status EmbeddingBagForward(Context& ctx, const Tensor& rows, const EmbeddingBagIndex& index,
                                 const Tensor& out);
// Segment sum, one writer per row, in occurrence order (deterministic):
// drows[u, :] = beta * drows[u, :] + sum over occurrences s of scale(s) * dout[sample, column, :].
absl::Status EmbeddingBagBackward(Context& ctx, const Tensor& dout, const EmbeddingBagIndex& index,
                                  float beta, const Tensor& drows);

// out[i, :] = rows[inverse[i], :] for a sequence; out [nnz, dim].
absl::Status GatherRows(Context& ctx, const Tensor& rows, const Tensor& inverse, const Tensor& out);
// drows[u, :] = beta * drows[u, :] + sum of dout[p, :] over p in the occurrences of u.
absl::Status GatherRowsBackward(Context& ctx, const Tensor& dout, const Tensor& occurrence_offsets,
                                const Tensor& occurrences, float beta, const Tensor& drows);

}  // namespace pagoda

// LREA as it is served: what of a user's attention does not depend on the candidate is computed
// once and stored, and a candidate then costs rank * (candidate_dim + value_width)
// multiply-adds, however long the sequence is. Equations (3.8) to (3.10) of README.md:
//
//    A_u = W_q^T K_r^T / sqrt(width)   [candidate_dim, rank]
//    M_u = 1/l sum_j D_j V_j           [rank, value_width]
//    o(t) = (t A_u) M_u
//
// This is the training path without max(0, alpha); t and S are the rows after their layer norms.
// On the host, in floats; sums in double.
//
// Threads: all functions are pure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "algorithms/lrea/low_rank_attention.h"

namespace pagoda::lrea {

// The parameters of a LowRankAttention, as they lie in a ParameterSet (row-major).
struct LowRankWeights {
  LowRankOptions options;
  std::vector<float> query, key, value;  // [width, ..], [value_width, event_dim]
  std::vector<float> candidate_gamma, candidate_beta, event_gamma, event_beta;
  std::vector<float> compress, expand;  // kFixed: [length, rank]
  std::vector<float> assign, seeds;     // kAdaptive: [width, event_dim], [rank, width]
};
// `values(NAME)` gives the values of a parameter by its full name, empty when there is none.
//   NOT_FOUND         a parameter is missing (names it)
//   INVALID_ARGUMENT  one has another size than the options say (names both)
absl::StatusOr<LowRankWeights> FindLowRankWeights(
    const LowRankOptions& options, const std::string& name,
    const std::function<std::vector<float>(const std::string&)>& values);

// What is stored for a user, under the version of the model that it was computed with: rows and
// weights that moved since make it worthless.
struct UserRecord {
  uint64_t model_version = 0;
  int64_t candidate_dim = 0, rank = 0, value_width = 0;
  std::vector<float> a;  // [candidate_dim, rank]
  std::vector<float> m;  // [rank, value_width]
};
// events [l, event_dim]: rows of the user's events as the model sees them, oldest first; the last
// `length` of them count. A user without events has an M_u of zeros.
//   INVALID_ARGUMENT  events are not whole rows
absl::StatusOr<UserRecord> Absorb(const LowRankWeights& weights, absl::Span<const float> events,
                                  uint64_t model_version);

// The candidate's row after its layer norm: t of the equations.
std::vector<float> NormedCandidate(const LowRankWeights& weights, absl::Span<const float> row);

struct Attended {
  std::vector<float> output;  // o(t), [value_width]
  int64_t multiply_adds = 0;  // Counted as they were done.
};
//   FAILED_PRECONDITION  the record is of another version of the model (names both)
//   INVALID_ARGUMENT     the candidate has another width
absl::StatusOr<Attended> Attend(const UserRecord& record, uint64_t model_version,
                                absl::Span<const float> candidate);

}  // namespace pagoda::lrea

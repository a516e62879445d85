// Settings of one table of rows. They are stored beside the rows; reopening with
// other settings is refused in words, except where a member says otherwise.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "embedding_store/admission.h"
#include "embedding_store/eviction.h"
#include "embedding_store/rate_schedule.h"

namespace pagoda {

enum class SparseOptimizerKind : uint8_t {
  kSgd = 0,
  kAdagrad = 1,
  kRowwiseAdagrad = 2,
  kAdam = 3,
  kFtrl = 4,
  kMomentum = 5,
  kAdagradDecay = 6,
  kAdamW = 7,
  kRowwiseAdam = 8,
  kGroupFtrl = 9
};

// How weights are kept; slots are always f32. kInt8: f32 in memory, and int8 with a scale
// for each row on disk. See row_precision.h.
enum class RowPrecision : uint8_t { kF32 = 0, kF16 = 1, kBF16 = 2, kInt8 = 3 };

//   INVALID_ARGUMENT  unknown (names the known ones)
absl::StatusOr<RowPrecision> ParseRowPrecision(const std::string& name);

// "f32", "f16", "bf16" or "int8".
const char* RowPrecisionName(RowPrecision precision);

//   INVALID_ARGUMENT  unknown (names the known ones)
absl::StatusOr<SparseOptimizerKind> ParseSparseOptimizer(const std::string& name);

// "sgd", "adagrad", "rowwise_adagrad", "adam", "ftrl", "momentum", "adagrad_decay",
// "adamw", "rowwise_adam" or "group_ftrl".
const char* SparseOptimizerName(SparseOptimizerKind kind);

struct SparseOptimizerOptions {
  SparseOptimizerKind kind = SparseOptimizerKind::kAdagrad;
  float learning_rate = 0.01f;       // May change between runs; logged with each push.
  RateSchedule schedule;             // Factor on learning_rate by step; may change likewise.
  float initial_accumulator = 0.0f;  // Adagrad kinds; >= 0.
  float epsilon = 1e-8f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float l2 = 0.0f;  // Coupled: l2 * w is added to the gradient.
  float ftrl_l1 = 0.0f;
  float ftrl_l2 = 0.0f;
  float ftrl_beta = 1.0f;
  float ftrl_l21 = 0.0f;           // group_ftrl: L2,1 over rows.
  float momentum = 0.9f;           // In [0, 1).
  float weight_decay = 0.0f;       // Decoupled: w -= learning rate * weight_decay * w.
  float accumulator_decay = 0.9f;  // adagrad_decay: factor of one period, in (0, 1].
  int64_t decay_steps = 100000;    // adagrad_decay: steps of a period; >= 1.
  float clip_norm = 0.0f;          // L2 norm of one row's gradient; 0: off.
  float clip_value = 0.0f;         // Size of one gradient value, before the norm; 0: off.
  // Rows read as a dense optimizer's would, which takes every step on every row: what a
  // row missed is made up for when it is next read or pushed (row_catch_up.h).
  bool exact = false;
};

// Whether a table's optimizer belongs to the family.
bool IsAdam(SparseOptimizerKind kind);  // adam, adamw, rowwise_adam
bool IsFtrl(SparseOptimizerKind kind);  // ftrl, group_ftrl

struct TableOptions {
  std::string name;
  int64_t dim = 0;  // In [1, 4096].
  uint64_t seed = 0;
  float init_stddev = 0.01f;      // Normal(0, stddev); 0: zeros.
  int64_t init_zero_columns = 0;  // Leading columns that start at zero.
  RowPrecision precision = RowPrecision::kF32;
  SparseOptimizerOptions optimizer;
  bool frozen = false;  // May change between runs.
  // Set by the store: the table was sgd's once, and rows of that time have no slots.
  bool slots_grown = false;
  AdmissionOptions admission;
  EvictionPolicy eviction;  // May change between runs.
};

// f32 optimizer values kept beside the weights: sgd 0; momentum, adagrad dim;
// adagrad_decay dim + 1 (accumulators, then the periods in them); rowwise_adagrad 1;
// adam, adamw 2 dim + 1 (moments, then the row's own step count); rowwise_adam dim + 2;
// ftrl, group_ftrl 2 dim.
int64_t SlotDim(SparseOptimizerKind kind, int64_t dim);

// Names of tables are 1 to 256 bytes; a store holds at most 65,536 tables.
inline constexpr int64_t kTableDimMax = 4096;
inline constexpr size_t kTableNameBytesMax = 256;
inline constexpr uint32_t kTablesMax = 65536;

//   INVALID_ARGUMENT  a member is out of its range, or what `exact` cannot do (names
//                     table, member and range)
absl::Status CheckTableOptions(const TableOptions& options);

// Compares what must not change between runs: everything but learning_rate, schedule,
// frozen and eviction.   FAILED_PRECONDITION  names table, member and both values
absl::Status CheckSameTable(const TableOptions& stored, const TableOptions& asked);

// Whether `asked` is the stored table with another optimizer than its sgd: rows then get
// that optimizer's slots, at the values of new rows. Not to ftrl kinds, whose weights
// follow from their slots, and not exact tables: there are steps that the new optimizer
// did not take.
bool GrowsSlots(const TableOptions& stored, const TableOptions& asked);

}  // namespace pagoda

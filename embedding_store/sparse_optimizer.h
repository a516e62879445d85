// Rows as the optimizers see them: what a new row holds, and one step for a block
// of rows. The formulas are in base/row_update.h; this file picks the one a table
// asks for and runs it with the widest vectors of this processor.
//
// A row is a contiguous run of f32: weights [dim], then slots [SlotDim].
// Threads: everything here is a pure function of its arguments.
#pragma once

#include <cstdint>
#include <span>

#include "base/ids.h"
#include "base/random.h"
#include "base/row_update.h"
#include "embedding_store/table_options.h"

namespace pagoda {

// The random stream of a table's initial values: a function of seed and name, so
// that neither table order nor arrival order of ids matters.
RandomKey InitialValueKey(const TableOptions& options);

// Writes weights and slots of a row that was never pushed. Column c of the
// weights is init_stddev * RandomNormal(key.Derive(id), c), rounded once; zero
// for the first init_zero_columns columns.
//   REQUIRES: row has dim + SlotDim floats.
void FillInitialRow(const TableOptions& options, RandomKey key, FeatureId id, float* row);

// The slots alone [SlotDim]: the same for every row of a table.
void FillInitialSlots(const TableOptions& options, float* slots);

// The table's learning rate at a step of its own schedule, before the job's factor.
float LearningRateAt(const SparseOptimizerOptions& options, Step step);

// Joins the table's settings with the learning rate of one push. Only adagrad_decay
// looks at `step`.
RowUpdateSettings MakeRowUpdateSettings(const SparseOptimizerOptions& options, float learning_rate,
                                        float learning_rate_factor, Step step = 0);

// AllFinite (base/finite.h) with the widest vectors of this processor.
bool GradientsAreFinite(std::span<const float> gradients);

// One step for each of rows[i] with gradients[i] [dim], clipped first as the settings
// ask. Rows must be distinct.
//   REQUIRES: rows.size() == gradients.size().
void UpdateRows(SparseOptimizerKind kind, const RowUpdateSettings& settings, int64_t dim,
                std::span<float* const> rows, std::span<const float* const> gradients);

}  // namespace pagoda

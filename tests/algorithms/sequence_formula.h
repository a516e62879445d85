// The formulas of sequence models in double: norms, causal attention, rotary positions, the
// blocks of SASRec and GPSD, and the losses over drawn items.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/algorithms/model_harness.h"

namespace pagoda {

using OracleRows = std::vector<Oracle::Vector>;

// Features: user, item and history (one table, "item"), category and categories (3 of them);
// histories have up to 4 events.
FeatureSchema SequenceSchema();

// NAME.weight x + NAME.bias (when there is one), of each row.
OracleRows LinearRows(const Oracle& oracle, const std::string& name, const OracleRows& rows);
// NAME.gamma x / sqrt(mean of x^2 + 1e-5).
OracleRows RmsNormRows(const Oracle& oracle, const std::string& name, const OracleRows& rows);
Oracle::Vector UnitLength(Oracle::Vector x);

// Position t sees 0 .. t. SASRec's blocks have no output projection.
OracleRows SasRecStates(const Oracle& oracle, const std::string& name, size_t layers, size_t heads,
                        OracleRows rows);
OracleRows GpsdStates(const Oracle& oracle, const std::string& name, size_t layers, size_t heads,
                      OracleRows rows);

// The loss of the next item: nn::NextItemLoss, event by event.
struct NextItemFormula {
  std::string loss = "softmax";
  std::string scope = "batch";
  size_t count = 1;  // Drawn items of an event.
  size_t last = 4;
  double temperature = 1.0;
  bool cosine = false;
  double log_q = 0.0;            // Of every item; 0: not taken off.
  std::vector<FeatureId> drawn;  // Of the batch.
};
using StatesOf = std::function<OracleRows(const Oracle&, size_t sample)>;
double MeanNextItemLoss(const Oracle& oracle, const NextItemFormula& formula,
                        const StatesOf& states);

// One step of the whole batch gives the gradients, summed, of two of its parts, as two workers
// would take them; with the model's own dropout and drawn items.
void CheckPartsAddUp(const ModelHarness& harness, const Batch& batch, int64_t first_part);

// The same step on every device, the host's and the emulated ones.
void CheckEveryDevice(const ModelHarness& harness, const Batch& batch);

}  // namespace pagoda

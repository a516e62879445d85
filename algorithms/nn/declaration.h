// What a model declares before training: its tables, how features look rows up,
// and its dense parameters. The trainer creates exactly these, on servers and
// workers, and nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "algorithms/nn/feature_schema.h"
#include "algorithms/nn/item_catalogue.h"
#include "base/random.h"
#include "kernels/tensor.h"

namespace pagoda {

struct Batch;  // algorithms/nn/batch.h

// A table of sparse rows. Optimizer and initializer settings not given here come
// from the job file's [sparse] section and its [table.NAME] overrides.
struct TableDecl {
  std::string name;
  int64_t dim = 0;            // Weights per row.
  float init_stddev = -1.0f;  // Normal(0, stddev); 0 = zeros; < 0 = job default.
  // Columns [0, init_zero_columns) start at zero (the linear weight that DeepFM
  // keeps in front of the embedding in one row).
  int64_t init_zero_columns = 0;
  std::string optimizer = "";  // "ftrl", ...; empty = job default.
};

// One gather of features' rows into one tensor.
//   pooled:    [batch, features.size(), dim]; pooling per FeatureSpec
//   sequence:  [nnz, dim] plus offsets (exactly one feature)
// Joined features: pooled as if every sample had its join row's values; a sequence has
// each join row's values once (ForwardInput::Sequence::sample_row).
struct LookupDecl {
  std::vector<int> features = {};  // Positions in Batch::sparse.
  std::vector<int> tables = {};    // Table of each feature; all of one dim.
  bool sequence = false;
  int negatives = -1;  // Rows of Declaration::negatives[i] instead of features' (AddNegatives).
  // Its rows come with their statistics, for ForwardInput::RowCount and RowAge: 8 bytes
  // more a row, and none of its tables' rows stay in a worker's cache.
  bool statistics = false;
};

enum class NegativeScope {
  kBatch,   // `count` items, shared by all samples of the global batch.
  kSample,  // `count` items for each sample.
};
enum class NegativeSampler {
  kUniform,     // Every item of the catalogue alike.
  kPopularity,  // In proportion to (1 + occurrences in the training data)^popularity_power.
};

// Items drawn at random, with replacement, for the model to tell positives from. Their
// rows are among the batch's unique rows, so that gradients merge with the other uses of
// the table. An item that is also the sample's positive is drawn like any other: the
// logits leave it out (SampledSoftmaxLogits).
struct NegativesDecl {
  int feature = -1;   // Position in Batch::sparse: the items are values of this feature.
  int table = -1;     // Where their rows are.
  int64_t count = 0;  // >= 1
  NegativeScope scope = NegativeScope::kBatch;
  NegativeSampler sampler = NegativeSampler::kUniform;
  double popularity_power = 1.0;
  // > 0: the items are the ids 1 .. num_items. 0: the values of the feature's column in
  // the item file ([data.items]).
  int64_t num_items = 0;
  bool statistics = false;  // LookupDecl::statistics.

  // Instead of drawing from a catalogue the model may choose values that samples of the global
  // batch have, its own and those of other workers: places among the values of `feature`, a
  // sequence, in Batch::Whole(). Pure, and for any part of a global batch its part of what is
  // chosen for all of it, so that no layout matters. count is 1, of scope kBatch.
  using ChooseFn = std::function<std::vector<int32_t>(const Batch& batch, RandomKey key)>;
  ChooseFn choose = nullptr;
  // The places that the negatives of this index chose, of another column of the same list.
  int same_as = -1;
  bool chosen() const { return choose != nullptr || same_as >= 0; }

  // Set by the trainer after Declare, before the first batch.
  std::shared_ptr<const ItemCatalogue> catalogue = nullptr;  // Null where chosen().
  RandomKey key = {};
};

enum class InitKind {
  kZeros,
  kOnes,
  kXavierUniform,
  kHeNormal,
  kNormal,
  // Of a matrix [n, m]: its rows in m runs of n / m neighbours, run c with 1 / sqrt(rows of the
  // run) in column c and zeros elsewhere. Columns are orthonormal where n >= m.
  kBlocks
};

struct DenseDecl {
  std::string name;  // "deep.0.weight"
  Shape shape;
  InitKind init = InitKind::kXavierUniform;
  float init_scale = 1.0f;   // Multiplies the initializer (stddev for kNormal).
  bool trainable = true;     // false: state such as batch-norm running statistics.
  bool weight_decay = true;  // Biases and norms opt out.
  std::string group = "";    // Parameter group; empty = "default".
};

struct TableHandle {
  int index = -1;
};
struct LookupHandle {
  int index = -1;
};
struct DenseHandle {
  int index = -1;
};
struct NegativesHandle {
  int index = -1;
};

// Filled by Model::Declare. Names must be unique; CheckDeclaration checks.
struct Declaration {
  std::vector<TableDecl> tables;
  std::vector<LookupDecl> lookups;
  std::vector<DenseDecl> dense;
  std::vector<NegativesDecl> negatives;

  TableHandle AddTable(TableDecl table);  // A known name returns its handle.
  LookupHandle AddLookup(LookupDecl lookup);
  DenseHandle AddDense(DenseDecl parameter);
  NegativesHandle AddNegatives(NegativesDecl negatives);  // Adds their lookup, too.
  // The lookup of some negatives.
  LookupHandle LookupOf(NegativesHandle negatives) const;
  // Whether negatives are chosen from Batch::Whole().
  bool NeedsWholeBatches() const;
  // Per table: whether a lookup wants its rows' statistics.
  std::vector<bool> TablesWithStatistics() const;
};

// Checks what a model declared, once, before anything is created from it.
//   INVALID_ARGUMENT  a name occurs twice, a size is out of range, or a lookup or
//                     negatives name features or tables that are not there or whose
//                     dimensions differ (names them)
absl::Status CheckDeclaration(const FeatureSchema& schema, const Declaration& declaration);

}  // namespace pagoda

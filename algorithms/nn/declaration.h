// What a model declares before training: its tables, how features look rows up,
// and its dense parameters. The trainer creates exactly these, on servers and
// workers, and nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "algorithms/nn/feature_schema.h"
#include "kernels/tensor.h"

namespace pagoda {

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
struct LookupDecl {
  std::vector<int> features;  // Positions in Batch::sparse.
  std::vector<int> tables;    // Table of each feature; all of one dim.
  bool sequence = false;
};

enum class InitKind { kZeros, kOnes, kXavierUniform, kHeNormal, kNormal };

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

// Filled by Model::Declare. Names must be unique; CheckDeclaration checks.
struct Declaration {
  std::vector<TableDecl> tables;
  std::vector<LookupDecl> lookups;
  std::vector<DenseDecl> dense;

  TableHandle AddTable(TableDecl table);  // A known name returns its handle.
  LookupHandle AddLookup(LookupDecl lookup);
  DenseHandle AddDense(DenseDecl parameter);
};

// Checks what a model declared, once, before anything is created from it.
//   INVALID_ARGUMENT  a name occurs twice, a size is out of range, or a lookup
//                     names features or tables that are not there or whose
//                     dimensions differ (names them)
absl::Status CheckDeclaration(const FeatureSchema& schema, const Declaration& declaration);

}  // namespace pagoda

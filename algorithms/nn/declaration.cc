#include "algorithms/nn/declaration.h"

#include <algorithm>
#include <set>

namespace pagoda {
namespace {

absl::Status CheckLookup(const FeatureSchema& schema, const Declaration& declaration,
                         const LookupDecl& lookup, size_t index) {
  const std::string where = absl::StrCat("lookup ", index);
  if (lookup.negatives >= 0) return absl::OkStatus();  // CheckNegatives looks at it.
  if (lookup.features.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(where, " has no features"));
  }
  if (lookup.features.size() != lookup.tables.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, " has ", lookup.features.size(), " features but ", lookup.tables.size(), " tables"));
  }
  if (lookup.sequence && lookup.features.size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat(where, " is a sequence lookup of ",
                                                   lookup.features.size(),
                                                   " features; it must have exactly one"));
  }
  const int num_sparse = static_cast<int>(schema.SparseFeatures().size());
  const int num_tables = static_cast<int>(declaration.tables.size());
  for (size_t k = 0; k < lookup.features.size(); ++k) {
    if (lookup.features[k] < 0 || lookup.features[k] >= num_sparse) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, " names sparse feature ", lookup.features[k], " of ", num_sparse));
    }
    if (lookup.tables[k] < 0 || lookup.tables[k] >= num_tables) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, " names table ", lookup.tables[k], " of ", num_tables));
    }
    const TableDecl& first = declaration.tables[static_cast<size_t>(lookup.tables[0])];
    const TableDecl& table = declaration.tables[static_cast<size_t>(lookup.tables[k])];
    if (table.dim != first.dim) {
      return absl::InvalidArgumentError(absl::StrCat(where, " mixes table '", first.name,
                                                     "' of dimension ", first.dim, " with table '",
                                                     table.name, "' of dimension ", table.dim));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckChosen(const FeatureSchema& schema, const Declaration& declaration,
                         size_t index) {
  const NegativesDecl& negatives = declaration.negatives[index];
  const std::string where = absl::StrCat("chosen negatives ", index);
  const std::vector<int> sparse = schema.SparseFeatures();
  const FeatureSpec& spec =
      schema.features[static_cast<size_t>(sparse[static_cast<size_t>(negatives.feature)])];
  if (!spec.sequence() || !spec.join.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(where, " are values of feature '", spec.name,
                                                   "', which is no sequence of the samples' own"));
  }
  if (negatives.count != 1 || negatives.scope != NegativeScope::kBatch) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " must have count 1 and the scope of a batch"));
  }
  if (negatives.same_as < 0) return absl::OkStatus();
  const bool known = negatives.same_as < static_cast<int>(index) && negatives.choose == nullptr;
  if (known && declaration.negatives[static_cast<size_t>(negatives.same_as)].choose != nullptr) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(where, " have the places of negatives ",
                                                 negatives.same_as,
                                                 ", which are not earlier ones that choose"));
}

absl::Status CheckNegatives(const FeatureSchema& schema, const Declaration& declaration,
                            size_t index) {
  const NegativesDecl& negatives = declaration.negatives[index];
  const std::string where = absl::StrCat("negatives ", index);
  const std::vector<int> sparse = schema.SparseFeatures();
  const int num_tables = static_cast<int>(declaration.tables.size());
  if (negatives.feature < 0 || negatives.feature >= static_cast<int>(sparse.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " name sparse feature ", negatives.feature, " of ", sparse.size()));
  }
  if (negatives.table < 0 || negatives.table >= num_tables) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " name table ", negatives.table, " of ", num_tables));
  }
  if (negatives.count < 1 || negatives.num_items < 0 || !(negatives.popularity_power >= 0.0)) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " have a count of ", negatives.count, ", ", negatives.num_items,
                     " items and a popularity power of ", negatives.popularity_power,
                     "; the count must be at least 1, the others not below 0"));
  }
  const FeatureSpec& spec =
      schema.features[static_cast<size_t>(sparse[static_cast<size_t>(negatives.feature)])];
  if (negatives.num_items > 0 && spec.kind != FeatureKind::kId) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ids 1 to ", negatives.num_items,
                                                   " are no values of feature '", spec.name,
                                                   "', which is not of kind id"));
  }
  return negatives.chosen() ? CheckChosen(schema, declaration, index) : absl::OkStatus();
}

}  // namespace

TableHandle Declaration::AddTable(TableDecl table) {
  for (size_t i = 0; i < tables.size(); ++i) {
    if (tables[i].name == table.name) return TableHandle{static_cast<int>(i)};
  }
  tables.push_back(std::move(table));
  return TableHandle{static_cast<int>(tables.size()) - 1};
}

LookupHandle Declaration::AddLookup(LookupDecl lookup) {
  lookups.push_back(std::move(lookup));
  return LookupHandle{static_cast<int>(lookups.size()) - 1};
}

DenseHandle Declaration::AddDense(DenseDecl parameter) {
  dense.push_back(std::move(parameter));
  return DenseHandle{static_cast<int>(dense.size()) - 1};
}

NegativesHandle Declaration::AddNegatives(NegativesDecl added) {
  const NegativesHandle handle{static_cast<int>(negatives.size())};
  AddLookup({.tables = {added.table},
             .sequence = true,
             .negatives = handle.index,
             .statistics = added.statistics});
  negatives.push_back(std::move(added));
  return handle;
}

LookupHandle Declaration::LookupOf(NegativesHandle handle) const {
  for (size_t i = 0; i < lookups.size(); ++i) {
    if (lookups[i].negatives == handle.index) return LookupHandle{static_cast<int>(i)};
  }
  return LookupHandle{};
}

bool Declaration::NeedsWholeBatches() const {
  return std::any_of(negatives.begin(), negatives.end(),
                     [](const NegativesDecl& decl) { return decl.chosen(); });
}

std::vector<bool> Declaration::TablesWithStatistics() const {
  std::vector<bool> wanted(tables.size(), false);
  for (const LookupDecl& lookup : lookups) {
    if (!lookup.statistics) continue;
    for (const int table : lookup.tables) wanted[static_cast<size_t>(table)] = true;
  }
  return wanted;
}

absl::Status CheckDeclaration(const FeatureSchema& schema, const Declaration& declaration) {
  std::set<std::string> names;
  for (const TableDecl& table : declaration.tables) {
    if (!names.insert(table.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("the model declares two tables named '", table.name, "'"));
    }
    if (table.dim < 1 || table.init_zero_columns < 0 || table.init_zero_columns > table.dim) {
      return absl::InvalidArgumentError(absl::StrCat("table '", table.name, "' has dimension ",
                                                     table.dim, " and ", table.init_zero_columns,
                                                     " columns that start at zero"));
    }
  }
  names.clear();
  for (const DenseDecl& parameter : declaration.dense) {
    if (!names.insert(parameter.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("the model declares two parameters named '", parameter.name, "'"));
    }
  }
  for (size_t i = 0; i < declaration.lookups.size(); ++i) {
    PAGODA_RETURN_IF_ERROR(CheckLookup(schema, declaration, declaration.lookups[i], i));
  }
  for (size_t i = 0; i < declaration.negatives.size(); ++i) {
    PAGODA_RETURN_IF_ERROR(CheckNegatives(schema, declaration, i));
  }
  return absl::OkStatus();
}

}  // namespace pagoda

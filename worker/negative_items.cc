#include "worker/negative_items.h"

#include <cmath>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "worker/batch_reader.h"

namespace pagoda {
namespace {

// Label of the stream of negatives' keys, beside those of model_instance.cc.
constexpr uint64_t kNegativesStream = 4;
constexpr int64_t kRowsAtOnce = 4096;

// Calls `visit` with every value of the feature in the data, in order.
absl::Status ForEachValue(const DataOptions& data, const FeatureSpec& feature,
                          const std::function<void(FeatureId)>& visit) {
  ReaderOptions options;
  options.data = data;
  options.data.shuffle_rows = 0;
  options.data.sharding = "rows";
  options.schema.features = {feature};
  options.schema.features[0].join.clear();
  options.schema.features[0].optional = false;
  options.batch_size = kRowsAtOnce;
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<BatchReader> reader, BatchReader::Open(options));
  for (;;) {
    PAGODA_ASSIGN_OR_RETURN(const std::optional<Batch> batch, reader->Next());
    if (!batch.has_value()) return absl::OkStatus();
    for (const FeatureId id : batch->sparse[0].ids) visit(id);
  }
}

absl::StatusOr<std::vector<FeatureId>> ItemsOf(const TrainerOptions& options,
                                               const NegativesDecl& decl,
                                               const FeatureSpec& feature) {
  std::vector<FeatureId> ids;
  if (decl.num_items > 0) {
    ids.resize(static_cast<size_t>(decl.num_items));
    std::iota(ids.begin(), ids.end(), FeatureId{1});
    return ids;
  }
  if (options.evaluation.items.files.empty()) {
    return absl::InvalidArgumentError(
        "the model draws negatives: name the items to draw from in [data.items]");
  }
  absl::flat_hash_map<FeatureId, bool> seen;
  PAGODA_RETURN_IF_ERROR(ForEachValue(options.evaluation.items, feature, [&](FeatureId id) {
    if (seen.emplace(id, true).second) ids.push_back(id);
  }));
  return ids;
}

absl::StatusOr<std::vector<double>> WeightsOf(const TrainerOptions& options,
                                              const NegativesDecl& decl, const FeatureSpec& feature,
                                              const std::vector<FeatureId>& ids) {
  std::vector<double> weights;
  if (decl.sampler == NegativeSampler::kUniform) return weights;
  if (!feature.join.empty()) {
    return absl::InvalidArgumentError("a join's values are not counted for popularity");
  }
  absl::flat_hash_map<FeatureId, int64_t> counts;
  PAGODA_RETURN_IF_ERROR(
      ForEachValue(options.stages[0].data, feature, [&](FeatureId id) { ++counts[id]; }));
  for (const FeatureId id : ids) {
    const auto found = counts.find(id);
    const double count = found == counts.end() ? 0.0 : static_cast<double>(found->second);
    weights.push_back(std::pow(1.0 + count, decl.popularity_power));
  }
  return weights;
}

absl::StatusOr<ItemCatalogue> Load(const TrainerOptions& options, const NegativesDecl& decl,
                                   const FeatureSpec& feature) {
  PAGODA_ASSIGN_OR_RETURN(std::vector<FeatureId> ids, ItemsOf(options, decl, feature));
  PAGODA_ASSIGN_OR_RETURN(const std::vector<double> weights,
                          WeightsOf(options, decl, feature, ids));
  return ItemCatalogue::Create(std::move(ids), weights);
}

}  // namespace

absl::Status LoadNegatives(const TrainerOptions& options, Declaration* declaration) {
  const std::vector<int> sparse = options.schema.SparseFeatures();
  for (size_t i = 0; i < declaration->negatives.size(); ++i) {
    NegativesDecl& decl = declaration->negatives[i];
    const FeatureSpec& feature =
        options.schema.features[static_cast<size_t>(sparse[static_cast<size_t>(decl.feature)])];
    decl.key = RandomKey{options.seed}
                   .Derive(HashBytes(options.job))
                   .Derive(kNegativesStream)
                   .Derive(static_cast<uint64_t>(i));
    if (decl.chosen()) continue;
    absl::StatusOr<ItemCatalogue> catalogue = Load(options, decl, feature);
    PAGODA_RETURN_IF_ERROR_CONTEXT(catalogue.status(),
                                   absl::StrCat("negatives of feature '", feature.name, "'"));
    decl.catalogue = std::make_shared<const ItemCatalogue>(*std::move(catalogue));
  }
  return absl::OkStatus();
}

}  // namespace pagoda

#include "algorithms/nn/feature_schema.h"

namespace pagoda {
namespace {

std::vector<int> PositionsOf(const std::vector<FeatureSpec>& features, bool sparse) {
  std::vector<int> positions;
  for (size_t i = 0; i < features.size(); ++i) {
    if (features[i].sparse() == sparse) positions.push_back(static_cast<int>(i));
  }
  return positions;
}

int IndexAmong(const std::vector<FeatureSpec>& features, bool sparse, const std::string& name) {
  int index = 0;
  for (const FeatureSpec& feature : features) {
    if (feature.sparse() != sparse) continue;
    if (feature.name == name) return index;
    ++index;
  }
  return -1;
}

}  // namespace

std::vector<int> FeatureSchema::SparseFeatures() const {
  return PositionsOf(features, true);
}

std::vector<int> FeatureSchema::DenseFeatures() const {
  return PositionsOf(features, false);
}

int FeatureSchema::SparseIndex(const std::string& name) const {
  return IndexAmong(features, true, name);
}

int FeatureSchema::DenseIndex(const std::string& name) const {
  return IndexAmong(features, false, name);
}

int FeatureSchema::TargetIndex(const std::string& name) const {
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] == name) return static_cast<int>(i);
  }
  return -1;
}

int FeatureSchema::JoinIndex(const std::string& name) const {
  for (size_t i = 0; i < joins.size(); ++i) {
    if (joins[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace pagoda

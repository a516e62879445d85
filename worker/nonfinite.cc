#include "worker/nonfinite.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr uint32_t kExponentBits = 0x7f800000U;

bool NonFinite(float value) {
  return (std::bit_cast<uint32_t>(value) & kExponentBits) == kExponentBits;
}

// Samples of a [batch, width] array that hold a non-finite value.
std::vector<int64_t> NonFiniteRows(std::span<const float> values, int64_t size) {
  std::vector<int64_t> rows;
  if (size == 0 || values.empty()) return rows;
  const size_t width = values.size() / static_cast<size_t>(size);
  for (int64_t i = 0; i < size; ++i) {
    if (!AllFinite(values.subspan(static_cast<size_t>(i) * width, width))) rows.push_back(i);
  }
  return rows;
}

std::vector<int64_t> NonFiniteInputs(const Batch& batch) {
  std::set<int64_t> samples;
  for (const std::span<const float> values :
       {std::span<const float>(batch.dense), std::span<const float>(batch.labels),
        std::span<const float>(batch.weights)}) {
    for (const int64_t sample : NonFiniteRows(values, batch.size)) samples.insert(sample);
  }
  return {samples.begin(), samples.end()};
}

std::vector<int64_t> NonFiniteOutputs(ModelStep& step, int64_t size) {
  std::set<int64_t> samples;
  const auto add = [&](const std::vector<float>& values) {
    for (const int64_t sample : NonFiniteRows(values, size)) samples.insert(sample);
  };
  if (const auto predictions = step.Predictions(); predictions.ok()) add(*predictions);
  if (const auto embeddings = step.RetrievalEmbeddings(); embeddings.ok()) {
    add(embeddings->user);
    add(embeddings->item);
  }
  return {samples.begin(), samples.end()};
}

std::string SamplesOrRange(const Batch& batch, const std::vector<int64_t>& samples) {
  if (samples.empty()) return absl::StrCat("in the samples of ", batch.OriginRange());
  return absl::StrCat("from ", DescribeSamples(batch, samples));
}

// Samples that look row `row` of `table` up, and the names of their features.
struct RowUse {
  std::set<int64_t> samples;
  std::set<std::string> features;
};

int64_t SegmentOf(const LookupIndex& index, int32_t occurrence, bool sequence) {
  if (!sequence) return occurrence;
  const auto end = std::upper_bound(index.offsets.begin(), index.offsets.end(), occurrence);
  return end - index.offsets.begin() - 1;
}

RowUse FindUse(const ModelInstance& model, const PreparedBatch& batch, size_t table, int64_t row) {
  RowUse use;
  const FeatureSchema& schema = model.options().schema;
  const std::vector<int> sparse = schema.SparseFeatures();
  const RowRange& range = batch.table_rows[table];
  for (size_t l = 0; l < batch.lookups.size(); ++l) {
    const LookupIndex& index = batch.lookups[l];
    const LookupDecl& decl = model.declaration().lookups[l];
    const int64_t local = range.first_row + row - index.first_row;
    const bool uses_table = std::find(decl.tables.begin(), decl.tables.end(),
                                      static_cast<int>(table)) != decl.tables.end();
    if (!uses_table || index.group != range.group) continue;
    const auto r = static_cast<size_t>(local);
    for (int32_t p = index.occurrence_offsets[r]; p < index.occurrence_offsets[r + 1]; ++p) {
      const int64_t segment =
          SegmentOf(index, index.occurrence_segments[static_cast<size_t>(p)], decl.sequence);
      if (decl.negatives >= 0) {
        use.features.insert("(drawn negatives)");
        continue;
      }
      const auto feature =
          static_cast<size_t>(decl.features[static_cast<size_t>(segment % index.num_features)]);
      use.features.insert(schema.features[static_cast<size_t>(sparse[feature])].name);
      const int join = decl.sequence ? batch.batch.sparse[feature].join : -1;
      if (join < 0) {
        use.samples.insert(segment / index.num_features);
        continue;
      }
      const std::vector<int32_t>& rows = batch.batch.joins[static_cast<size_t>(join)].sample_row;
      for (size_t i = 0; i < rows.size(); ++i) {
        if (rows[i] == segment) use.samples.insert(static_cast<int64_t>(i));
      }
    }
  }
  return use;
}

}  // namespace

int64_t FirstNonFinite(std::span<const float> values) {
  const auto found = std::find_if(values.begin(), values.end(), NonFinite);
  return found == values.end() ? -1 : found - values.begin();
}

std::string DescribeSamples(const Batch& batch, const std::vector<int64_t>& samples,
                            size_t shown_max) {
  std::string text;
  for (size_t i = 0; i < samples.size() && i < shown_max; ++i) {
    const auto sample = static_cast<size_t>(samples[i]);
    absl::StrAppend(&text, i == 0 ? "" : ", ");
    if (sample >= batch.origins.size()) {
      absl::StrAppend(&text, "sample ", batch.first_sample + sample);
      continue;
    }
    const SampleOrigin& origin = batch.origins[sample];
    const bool named = batch.files != nullptr && origin.file >= 0 &&
                       static_cast<size_t>(origin.file) < batch.files->size();
    absl::StrAppend(&text, named ? (*batch.files)[static_cast<size_t>(origin.file)] : "line", ":",
                    origin.line);
  }
  if (samples.size() > shown_max) {
    absl::StrAppend(&text, " and ", samples.size() - shown_max, " more");
  }
  return text;
}

std::vector<int64_t> FindNonFiniteSamples(ModelInstance& model, const StepInput& input,
                                          ModelStep& step) {
  const Batch& batch = input.batch->batch;
  std::vector<int64_t> samples = NonFiniteInputs(batch);
  if (!samples.empty()) return samples;
  samples = NonFiniteOutputs(step, batch.size);
  if (samples.size() < 2 || static_cast<int64_t>(samples.size()) < batch.size) return samples;
  StepInput reading = input;
  reading.training = false;
  const auto again = ModelStep::Forward(model.ctx(), model.model(), model.declaration(),
                                        model.parameters(), reading);
  if (!again.ok()) return samples;
  const std::vector<int64_t> fewer = NonFiniteOutputs(**again, batch.size);
  return fewer.empty() ? samples : fewer;
}

std::string DescribeNonFiniteLoss(ModelInstance& model, const StepInput& input, ModelStep& step,
                                  const std::vector<LossValue>& losses) {
  std::string name = "the loss";
  for (const LossValue& loss : losses) {
    if (std::isfinite(loss.sum) && std::isfinite(loss.count)) continue;
    name = absl::StrCat("the loss '", loss.name, "' is ", loss.sum);
    break;
  }
  return absl::StrCat(name, ", ",
                      SamplesOrRange(input.batch->batch, FindNonFiniteSamples(model, input, step)));
}

std::string DescribeNonFiniteRow(const ModelInstance& model, const PreparedBatch& batch,
                                 size_t table, int64_t row, float value) {
  const RowUse use = FindUse(model, batch, table, row);
  std::string features;
  for (const std::string& feature : use.features) {
    absl::StrAppend(&features, features.empty() ? "" : ", ", "'", feature, "'");
  }
  return absl::StrCat("the gradient of table '", model.declaration().tables[table].name, "', id ",
                      batch.unique_ids[table][static_cast<size_t>(row)], ", is ", value,
                      " (feature ", features, "), ",
                      SamplesOrRange(batch.batch, {use.samples.begin(), use.samples.end()}));
}

std::string DescribeNonFiniteDense(const ParameterSet& parameters, int64_t element, float value) {
  for (size_t i = 0; i < parameters.decls().size(); ++i) {
    const DenseDecl& decl = parameters.decls()[i];
    const int64_t begin = parameters.offset(DenseHandle{static_cast<int>(i)});
    if (element < begin || element >= begin + NumElements(decl.shape)) continue;
    return absl::StrCat(decl.trainable ? "the gradient of '" : "the running statistic '", decl.name,
                        "' is ", value);
  }
  return absl::StrCat("a dense gradient is ", value);
}

}  // namespace pagoda

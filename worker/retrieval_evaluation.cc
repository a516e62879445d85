#include "worker/retrieval_evaluation.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "kernels/matmul.h"
#include "worker/batch_reader.h"
#include "worker/metrics.h"
#include "worker/nonfinite.h"
#include "worker/scoring_pipeline.h"
#include "worker/worker_agreement.h"

namespace pagoda {
namespace {

// Scores held at once: 64 MiB. A block is as many queries as fit, at most
// kBlockMax (a matrix product gains nothing from more).
constexpr int64_t kScoresMax = int64_t{1} << 24;
constexpr int64_t kBlockMax = 256;

using RowVisitor = std::function<void(const Batch& batch, int64_t row)>;

// Calls `visit` for every row in file order.
absl::Status ForEachRow(const DataOptions& data, const FeatureSchema& schema, bool needs_all,
                        int64_t batch_size, const RowVisitor& visit) {
  ReaderOptions reader_options;
  reader_options.data = data;
  reader_options.data.shuffle_rows = 0;
  reader_options.data.sharding = "rows";
  reader_options.schema = schema;
  reader_options.batch_size = batch_size;
  reader_options.needs_labels = needs_all;
  reader_options.absent_columns_empty = !needs_all;
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<BatchReader> reader, BatchReader::Open(reader_options));
  for (;;) {
    PAGODA_ASSIGN_OR_RETURN(const std::optional<Batch> batch, reader->Next());
    if (!batch.has_value()) return absl::OkStatus();
    for (int64_t row = 0; row < batch->size; ++row) visit(*batch, row);
  }
}

std::span<const FeatureId> IdsOf(const RaggedIds& values, int64_t row) {
  const auto begin = static_cast<size_t>(values.offsets[static_cast<size_t>(row)]);
  const auto end = static_cast<size_t>(values.offsets[static_cast<size_t>(row) + 1]);
  return std::span(values.ids).subspan(begin, end - begin);
}

uint64_t HashIds(std::span<const FeatureId> ids, uint64_t seed) {
  return HashBytes({reinterpret_cast<const char*>(ids.data()), ids.size_bytes()}, seed);
}

Batch EmptyLike(const Batch& batch) {
  Batch empty;
  empty.sparse.resize(batch.sparse.size());
  empty.files = batch.files;
  return empty;
}

void AppendRow(const Batch& from, int64_t row, Batch& to) {
  for (size_t k = 0; k < from.sparse.size(); ++k) {
    const std::span<const FeatureId> ids = IdsOf(from.sparse[k], row);
    to.sparse[k].ids.insert(to.sparse[k].ids.end(), ids.begin(), ids.end());
    to.sparse[k].offsets.push_back(static_cast<int32_t>(to.sparse[k].ids.size()));
  }
  const size_t width = from.size == 0 ? 0 : from.dense.size() / static_cast<size_t>(from.size);
  const auto dense = from.dense.begin() + row * static_cast<int64_t>(width);
  to.dense.insert(to.dense.end(), dense, dense + static_cast<int64_t>(width));
  if (!from.origins.empty()) to.origins.push_back(from.origins[static_cast<size_t>(row)]);
  ++to.size;
}

bool Positive(const FeatureSchema& schema, const Batch& batch, int64_t row) {
  return schema.label.empty() || batch.labels[static_cast<size_t>(row)] > 0.5f;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RetrievalEvaluation>> RetrievalEvaluation::Load(
    const EvaluationContext& context, const EvaluationOptions& options,
    const FeatureSchema& schema) {
  if (options.items.files.empty()) {
    return absl::InvalidArgumentError(
        "a retrieval model is evaluated by ranking a corpus of items: name its files in "
        "[data.items]");
  }
  if (options.top_k < 1) {
    return absl::InvalidArgumentError(absl::StrCat("top_k is ", options.top_k, "; it must be > 0"));
  }
  std::unique_ptr<RetrievalEvaluation> evaluation(new RetrievalEvaluation(options, schema));
  PAGODA_RETURN_IF_ERROR(evaluation->LoadCorpus());
  PAGODA_RETURN_IF_ERROR(evaluation->LoadQueries());
  const std::vector<StageOptions>& stages = context.model->options().stages;
  if (options.exclude_seen && !stages.empty()) {
    PAGODA_RETURN_IF_ERROR(evaluation->LoadSeen(stages[0].data));
  }
  return evaluation;
}

absl::Status RetrievalEvaluation::LoadCorpus() {
  // Which features the corpus has is known only at its end, so every feature's hash
  // is kept until then.
  std::vector<std::vector<uint64_t>> hashes;
  PAGODA_RETURN_IF_ERROR(ForEachRow(
      options_.items, schema_, false, options_.batch_size, [&](const Batch& batch, int64_t row) {
        item_feature_.resize(batch.sparse.size());
        std::vector<uint64_t>& features = hashes.emplace_back();
        for (size_t k = 0; k < batch.sparse.size(); ++k) {
          const std::span<const FeatureId> ids = IdsOf(batch.sparse[k], row);
          if (!ids.empty()) item_feature_[k] = true;
          features.push_back(HashIds(ids, k));
        }
      }));
  for (const std::vector<uint64_t>& features : hashes) {
    uint64_t key = 0;
    for (size_t k = 0; k < features.size(); ++k) {
      if (item_feature_[k]) key = MixBits(key ^ features[k]);
    }
    const bool first = place_of_item_.emplace(key, num_items_).second;
    corpus_places_.push_back(first ? num_items_++ : -1);
  }
  if (num_items_ == 0) return absl::InvalidArgumentError("the item corpus has no rows");
  block_size_ = std::clamp<int64_t>(kScoresMax / num_items_, 1, kBlockMax);
  return absl::OkStatus();
}

uint64_t RetrievalEvaluation::ItemKey(const Batch& batch, int64_t row) const {
  uint64_t key = 0;
  for (size_t k = 0; k < batch.sparse.size(); ++k) {
    if (item_feature_[k]) key = MixBits(key ^ HashIds(IdsOf(batch.sparse[k], row), k));
  }
  return key;
}

uint64_t RetrievalEvaluation::UserKey(const Batch& batch, int64_t row) const {
  if (!batch.groups.empty()) return batch.groups[static_cast<size_t>(row)];
  uint64_t key = 0;
  for (size_t k = 0; k < batch.sparse.size(); ++k) {
    if (!item_feature_[k]) key = MixBits(key ^ HashIds(IdsOf(batch.sparse[k], row), k));
  }
  return key;
}

absl::Status RetrievalEvaluation::LoadQueries() {
  return ForEachRow(options_.data, schema_, true, options_.batch_size,
                    [&](const Batch& batch, int64_t row) {
                      if (!Positive(schema_, batch, row)) return;
                      AddQuery(batch, row, ItemKey(batch, row));
                    });
}

void RetrievalEvaluation::AddQuery(const Batch& batch, int64_t row, uint64_t item_key) {
  const uint64_t user = UserKey(batch, row);
  const auto [found, is_new] = query_of_user_.emplace(user, queries_.size());
  if (is_new) {
    queries_.emplace_back();
    if (blocks_.empty() || blocks_.back().size == block_size_) {
      blocks_.push_back(EmptyLike(batch));
    }
    AppendRow(batch, row, blocks_.back());
  }
  Query& query = queries_[found->second];
  const auto place = place_of_item_.find(item_key);
  if (place != place_of_item_.end()) {
    query.relevant.insert(place->second);
  } else if (missing_pairs_.insert(MixBits(user ^ MixBits(item_key))).second) {
    ++query.num_missing;
  }
}

absl::Status RetrievalEvaluation::LoadSeen(const DataOptions& training) {
  return ForEachRow(training, schema_, true, options_.batch_size,
                    [&](const Batch& batch, int64_t row) {
                      if (!Positive(schema_, batch, row)) return;
                      const auto user = query_of_user_.find(UserKey(batch, row));
                      const auto place = place_of_item_.find(ItemKey(batch, row));
                      if (user == query_of_user_.end() || place == place_of_item_.end()) return;
                      Query& query = queries_[user->second];
                      if (!query.relevant.contains(place->second)) {
                        query.seen.insert(place->second);
                      }
                    });
}

absl::StatusOr<std::vector<float>> RetrievalEvaluation::EmbedCorpus(
    const EvaluationContext& context) {
  ScoringOptions scoring;
  scoring.reader.data = options_.items;
  scoring.reader.schema = schema_;
  scoring.reader.batch_size = options_.batch_size;
  scoring.reader.needs_labels = false;
  scoring.reader.absent_columns_empty = true;
  std::vector<float> embeddings;  // [num_items, dim]
  size_t row = 0;
  PAGODA_RETURN_IF_ERROR(
      RunScoring(context, scoring, [&](const Batch& batch, ModelStep* step) -> absl::Status {
        PAGODA_ASSIGN_OR_RETURN(const ModelStep::Embeddings made, step->RetrievalEmbeddings());
        if (!AllFinite(made.item)) return absl::OutOfRangeError("an item embedding is not finite");
        for (int64_t i = 0; i < batch.size; ++i, ++row) {
          if (row >= corpus_places_.size()) {
            return absl::FailedPreconditionError("the item corpus has grown since it was read");
          }
          if (corpus_places_[row] < 0) continue;
          const auto begin = made.item.begin() + i * made.dim;
          embeddings.insert(embeddings.end(), begin, begin + made.dim);
        }
        return absl::OkStatus();
      }));
  if (row == corpus_places_.size()) return embeddings;
  return absl::FailedPreconditionError("the item corpus has shrunk since it was read");
}

std::vector<uint8_t> RetrievalEvaluation::Hits(const Query& query,
                                               std::span<const float> scores) const {
  std::vector<int64_t> order;
  order.reserve(scores.size());
  for (int64_t place = 0; place < num_items_; ++place) {
    if (!query.seen.contains(place)) order.push_back(place);
  }
  const auto better = [&](int64_t a, int64_t b) {
    const float score_a = scores[static_cast<size_t>(a)];
    const float score_b = scores[static_cast<size_t>(b)];
    return score_a != score_b ? score_a > score_b : a < b;
  };
  const auto top = std::min<int64_t>(options_.top_k, static_cast<int64_t>(order.size()));
  std::partial_sort(order.begin(), order.begin() + top, order.end(), better);
  std::vector<uint8_t> hits;
  for (int64_t rank = 0; rank < top; ++rank) {
    hits.push_back(query.relevant.contains(order[static_cast<size_t>(rank)]) ? 1 : 0);
  }
  return hits;
}

absl::Status RetrievalEvaluation::RankBlock(const EvaluationContext& context, size_t block,
                                            const Tensor& items,
                                            std::vector<double>& metrics) const {
  Context& ctx = context.model->ctx();
  const auto rank = [&](const Batch& batch, ModelStep* step) -> absl::Status {
    PAGODA_ASSIGN_OR_RETURN(const ModelStep::Embeddings made, step->RetrievalEmbeddings());
    if (!AllFinite(made.user)) return absl::OutOfRangeError("a user embedding is not finite");
    PAGODA_ASSIGN_OR_RETURN(const Tensor users,
                            ctx.Upload<float>(made.user, {batch.size, made.dim}));
    PAGODA_ASSIGN_OR_RETURN(const Tensor product, ctx.Empty({batch.size, num_items_}));
    MatMulArgs by_items;
    by_items.trans_b = true;
    PAGODA_RETURN_IF_ERROR(MatMul(ctx, users, items, by_items, product));
    std::vector<float> scores(static_cast<size_t>(batch.size * num_items_));
    PAGODA_RETURN_IF_ERROR(ctx.CopyToHost(product, scores.data(),
                                          static_cast<int64_t>(scores.size() * sizeof(float))));
    const auto width = static_cast<size_t>(num_items_);
    for (size_t i = 0; i < static_cast<size_t>(batch.size); ++i) {
      const size_t q = block * static_cast<size_t>(block_size_) + i;
      const Query& query = queries_[q];
      const std::vector<uint8_t> hits = Hits(query, std::span(scores).subspan(i * width, width));
      const RankedQuery ranked{hits,
                               static_cast<int64_t>(query.relevant.size()) + query.num_missing};
      metrics[2 * q] = RecallAt(ranked, options_.top_k);
      metrics[2 * q + 1] = NdcgAt(ranked, options_.top_k);
    }
    return absl::OkStatus();
  };
  return ScoreOneBatch(context, schema_, blocks_[block], rank);
}

absl::StatusOr<EvaluationResult> RetrievalEvaluation::Evaluate(const EvaluationContext& context) {
  AllReduce& allreduce = *context.allreduce;
  std::vector<double> metrics(2 * queries_.size(), 0.0);  // Recall and NDCG of each.
  const auto rank_own = [&]() -> absl::Status {
    PAGODA_ASSIGN_OR_RETURN(const std::vector<float> embeddings, EmbedCorpus(context));
    const int64_t dim = static_cast<int64_t>(embeddings.size()) / num_items_;
    PAGODA_ASSIGN_OR_RETURN(const Tensor items,
                            context.model->ctx().Upload<float>(embeddings, {num_items_, dim}));
    for (size_t block = 0; block < blocks_.size(); ++block) {
      if (static_cast<int>(block % static_cast<size_t>(allreduce.num_workers())) !=
          allreduce.rank()) {
        continue;
      }
      PAGODA_RETURN_IF_ERROR(RankBlock(context, block, items, metrics));
    }
    return absl::OkStatus();
  };
  PAGODA_RETURN_IF_ERROR(AgreeOnStatus(allreduce, rank_own(), "evaluate"));
  PAGODA_RETURN_IF_ERROR(
      CheckSameEverywhere(allreduce, metrics.size(), "the queries of the evaluation"));
  if (!metrics.empty()) PAGODA_RETURN_IF_ERROR(allreduce.Sum(std::span<double>(metrics)));
  EvaluationResult result;
  result.retrieval = true;
  result.samples = num_queries();
  for (size_t q = 0; q < queries_.size(); ++q) {
    result.recall += metrics[2 * q];
    result.ndcg += metrics[2 * q + 1];
  }
  result.recall /= static_cast<double>(queries_.size());  // NaN without queries.
  result.ndcg /= static_cast<double>(queries_.size());
  return result;
}

}  // namespace pagoda

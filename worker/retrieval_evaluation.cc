#include "worker/retrieval_evaluation.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "kernels/matmul.h"
#include "worker/batch_reader.h"
#include "worker/data_columns.h"
#include "worker/file_glob.h"
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
  reader_options.schema.targets.clear();
  reader_options.schema.slices.clear();
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

uint64_t HashIds(absl::Span<const FeatureId> ids, uint64_t seed) {
  return HashBytes({reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(FeatureId)},
                   seed);
}

// Every sample is given a join row of its own.
void AppendRow(const Batch& from, int64_t row, Batch& to) {
  for (BatchJoin& join : to.joins) join.sample_row.push_back(static_cast<int32_t>(join.num_rows++));
  for (size_t k = 0; k < from.sparse.size(); ++k) {
    const absl::Span<const FeatureId> ids = from.IdsOf(static_cast<int>(k), row);
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
  std::unique_ptr<RetrievalEvaluation> evaluation(new RetrievalEvaluation(options, schema));
  evaluation->ks_ = {options.top_k};
  for (const int64_t k : options.top_ks) evaluation->ks_.push_back(k);
  for (const int64_t k : evaluation->ks_) {
    if (k < 1) return absl::InvalidArgumentError(absl::StrCat("top_k is ", k, "; it must be > 0"));
  }
  PAGODA_RETURN_IF_ERROR(evaluation->LoadCorpus());
  PAGODA_RETURN_IF_ERROR(evaluation->LoadQueries());
  const std::vector<StageOptions>& stages = context.model->options().stages;
  if (!options.exclude_seen || stages.empty()) return evaluation;
  PAGODA_ASSIGN_OR_RETURN(const bool has_items, evaluation->HasItems(stages[0].data));
  if (has_items) PAGODA_RETURN_IF_ERROR(evaluation->LoadSeen(stages[0].data));
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
          const absl::Span<const FeatureId> ids = batch.IdsOf(static_cast<int>(k), row);
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
  return options_.exclude_seen ? FindSeenFeatures() : absl::OkStatus();
}

absl::Status RetrievalEvaluation::FindSeenFeatures() {
  const std::vector<int> sparse = schema_.SparseFeatures();
  const auto table_of = [&](int k) -> const std::string& {
    return schema_.features[static_cast<size_t>(sparse[static_cast<size_t>(k)])].table_name();
  };
  for (const std::string& name : options_.seen_features) {
    const int feature = schema_.SparseIndex(name);
    int item = -1;
    for (int k = 0; feature >= 0 && k < static_cast<int>(item_feature_.size()); ++k) {
      if (k != feature && item_feature_[static_cast<size_t>(k)] && table_of(k) == table_of(feature))
        item = k;
    }
    if (item < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("evaluation.seen_features names '", name,
                       feature < 0 ? "', which is not a feature"
                                   : "', whose table no feature of the items has"));
    }
    seen_features_.push_back({feature, item});
    places_of_id_[item];
  }
  if (places_of_id_.empty()) return absl::OkStatus();
  size_t row = 0;
  return ForEachRow(
      options_.items, schema_, false, options_.batch_size, [&](const Batch& batch, int64_t i) {
        const int64_t place = corpus_places_[std::min(row++, corpus_places_.size() - 1)];
        for (auto& [item, places] : places_of_id_) {
          for (const FeatureId id : batch.IdsOf(item, i)) {
            if (place >= 0) places[id].push_back(place);
          }
        }
      });
}

absl::StatusOr<bool> RetrievalEvaluation::HasItems(const DataOptions& training) const {
  if (options_.seen_features.empty() || training.format == "libsvm" ||
      training.format == "libffm") {
    return true;  // Without its columns the training data is an error, as it always was.
  }
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> files, ExpandFiles(training.files));
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          ReadColumnNames(training, files, true));
  const std::vector<int> sparse = schema_.SparseFeatures();
  for (size_t k = 0; k < item_feature_.size(); ++k) {
    if (!item_feature_[k]) continue;
    const FeatureSpec& spec = schema_.features[static_cast<size_t>(sparse[k])];
    if (std::find(names.begin(), names.end(), spec.column_name()) == names.end()) return false;
  }
  return true;
}

void RetrievalEvaluation::AddSeenFeatures(const Batch& batch, int64_t row, Query& query) {
  for (const SeenFeature& seen : seen_features_) {
    const auto& places = places_of_id_[seen.item];
    for (const FeatureId id : batch.IdsOf(seen.feature, row)) {
      const auto found = places.find(id);
      if (found != places.end()) query.seen.insert(found->second.begin(), found->second.end());
    }
  }
}

uint64_t RetrievalEvaluation::ItemKey(const Batch& batch, int64_t row) const {
  uint64_t key = 0;
  for (size_t k = 0; k < batch.sparse.size(); ++k) {
    if (item_feature_[k]) key = MixBits(key ^ HashIds(batch.IdsOf(static_cast<int>(k), row), k));
  }
  return key;
}

uint64_t RetrievalEvaluation::UserKey(const Batch& batch, int64_t row) const {
  if (!batch.groups.empty()) return batch.groups[static_cast<size_t>(row)];
  uint64_t key = 0;
  for (size_t k = 0; k < batch.sparse.size(); ++k) {
    if (!item_feature_[k]) key = MixBits(key ^ HashIds(batch.IdsOf(static_cast<int>(k), row), k));
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
      blocks_.push_back(EmptyBatch(schema_));
      blocks_.back().files = batch.files;
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
  AddSeenFeatures(batch, row, query);
}

absl::Status RetrievalEvaluation::LoadSeen(const DataOptions& training) {
  return ForEachRow(training, schema_, true, options_.batch_size,
                    [&](const Batch& batch, int64_t row) {
                      if (!Positive(schema_, batch, row)) return;
                      const auto user = query_of_user_.find(UserKey(batch, row));
                      const auto place = place_of_item_.find(ItemKey(batch, row));
                      if (user == query_of_user_.end() || place == place_of_item_.end()) return;
                      queries_[user->second].seen.insert(place->second);
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

std::vector<uint8_t> RetrievalEvaluation::Hits(const Query& query, std::span<const float> scores,
                                               int64_t top_k) const {
  const auto ranked = [&](int64_t place) {
    return !query.seen.contains(place) || query.relevant.contains(place);
  };
  const auto better = [&](int64_t a, int64_t b) {
    const float score_a = scores[static_cast<size_t>(a)];
    const float score_b = scores[static_cast<size_t>(b)];
    return score_a != score_b ? score_a > score_b : a < b;
  };
  // A heap with the worst of the best so far on top: few items pass the first test.
  std::vector<int64_t> order;
  float least = -std::numeric_limits<float>::infinity();
  for (int64_t place = 0; place < num_items_; ++place) {
    const bool full = static_cast<int64_t>(order.size()) == top_k;
    if (full && !(scores[static_cast<size_t>(place)] > least)) continue;  // Ties: the first.
    if (!ranked(place)) continue;
    if (full) {
      std::pop_heap(order.begin(), order.end(), better);
      order.pop_back();
    }
    order.push_back(place);
    std::push_heap(order.begin(), order.end(), better);
    least = scores[static_cast<size_t>(order[0])];
  }
  std::sort_heap(order.begin(), order.end(), better);
  std::vector<uint8_t> hits;
  for (const int64_t place : order) hits.push_back(query.relevant.contains(place) ? 1 : 0);
  return hits;
}

void RetrievalEvaluation::Rate(const Query& query, std::span<const float> scores,
                               double* metrics) const {
  const std::vector<uint8_t> hits = Hits(query, scores, *std::max_element(ks_.begin(), ks_.end()));
  const RankedQuery ranked{hits, static_cast<int64_t>(query.relevant.size()) + query.num_missing};
  for (const int64_t k : ks_) {
    const double recall = RecallAt(ranked, k);
    *metrics++ = recall;
    *metrics++ = NdcgAt(ranked, k);
    *metrics++ = recall > 0.0 ? 1.0 : 0.0;
  }
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
    ctx.pool().ParallelFor(batch.size, [&](int64_t row) {
      const auto i = static_cast<size_t>(row);
      const size_t q = block * static_cast<size_t>(block_size_) + i;
      Rate(queries_[q], std::span(scores).subspan(i * width, width), &metrics[3 * ks_.size() * q]);
    });
    return absl::OkStatus();
  };
  return ScoreOneBatch(context, schema_, blocks_[block], rank);
}

absl::StatusOr<EvaluationResult> RetrievalEvaluation::Evaluate(const EvaluationContext& context) {
  AllReduce& allreduce = *context.allreduce;
  const size_t num_metrics = 3 * ks_.size();
  std::vector<double> metrics(num_metrics * queries_.size(), 0.0);  // Rate's, of each.
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
  std::vector<double> means(num_metrics, 0.0);
  for (size_t i = 0; i < metrics.size(); ++i) means[i % num_metrics] += metrics[i];
  for (double& mean : means) mean /= static_cast<double>(queries_.size());  // NaN without queries.
  result.recall = means[0];
  result.ndcg = means[1];
  result.hit_rate = means[2];
  for (size_t k = 1; k < ks_.size(); ++k) {
    result.more.push_back({absl::StrCat("recall@", ks_[k]), means[3 * k]});
    result.more.push_back({absl::StrCat("ndcg@", ks_[k]), means[3 * k + 1]});
    result.more.push_back({absl::StrCat("hit_rate@", ks_[k]), means[3 * k + 2]});
  }
  return result;
}

}  // namespace pagoda

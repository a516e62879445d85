// Recall@K, NDCG@K and hit rate@K of a retrieval model by full ranking: every item of the
// corpus is ranked for every user, none is sampled. With one relevant item a user
// (leave-one-out) Recall@K is the hit rate, HR@K.
//
// Protocol
//   corpus    one row of EvaluationOptions::items per item. Its features are those of
//             the item tower; the others' columns are absent there. An item's identity
//             is the ids of those features; of equal rows the first counts.
//   queries   the positive rows of EvaluationOptions::data (label > 0.5; all rows when
//             the schema has no label), joined by user: one query per user, with all of
//             the user's items relevant. A user is the schema's group field, or without
//             one the ids of all features that the corpus lacks (so histories, which
//             differ from row to row, need a group). The user's features are those of
//             its first row.
//   seen      with exclude_seen, items that were the user's positives in the first
//             stage's training data are not ranked, nor are those that a feature of
//             seen_features names in the query's row (a history), unless relevant here,
//             too. Such a feature names items by their ids in the table that it shares
//             with one feature of the corpus. Training data that lacks a column of the
//             corpus (sequences of histories alone) has no positives to leave out.
//   score     dot product of the model's user and item embeddings; ties go to the
//             item that comes first in the corpus.
//   result    the mean over queries, for K = top_k and each of top_ks; a relevant item
//             that is not in the corpus counts as missed. Hit rate: the share of queries
//             with a relevant item among the first K.
//
// Threads: one at a time; collective like worker/evaluation.h. Queries are ranked in
// fixed blocks, block b by worker b % N, so the result does not depend on N.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "worker/evaluation.h"

namespace pagoda {

class RetrievalEvaluation {
 public:
  // Reads the corpus's identities, the queries and the seen items.
  //   INVALID_ARGUMENT  options.items names no files, a K < 1, or a feature of
  //                     seen_features is not there or shares no item feature's table
  //   the reader's errors
  static absl::StatusOr<std::unique_ptr<RetrievalEvaluation>> Load(const EvaluationContext& context,
                                                                   const EvaluationOptions& options,
                                                                   const FeatureSchema& schema);

  // Ranks with the model as it is now; may be called again and again.
  //   OUT_OF_RANGE  an embedding is not finite
  absl::StatusOr<EvaluationResult> Evaluate(const EvaluationContext& context);

  int64_t num_queries() const { return static_cast<int64_t>(queries_.size()); }
  int64_t num_items() const { return num_items_; }

 private:
  struct Query {
    absl::flat_hash_set<int64_t> relevant;  // Places in the corpus.
    int64_t num_missing = 0;                // Relevant items that the corpus lacks.
    absl::flat_hash_set<int64_t> seen;
  };

  RetrievalEvaluation(const EvaluationOptions& options, const FeatureSchema& schema)
      : options_(options), schema_(schema) {}
  absl::Status LoadCorpus();
  absl::Status LoadQueries();
  absl::Status LoadSeen(const DataOptions& training);
  // Whether the training data has the columns of the corpus's features.
  absl::StatusOr<bool> HasItems(const DataOptions& training) const;
  // For each of seen_features: which feature of the corpus has the same table.
  absl::Status FindSeenFeatures();
  void AddSeenFeatures(const Batch& batch, int64_t row, Query& query);
  uint64_t ItemKey(const Batch& batch, int64_t row) const;
  uint64_t UserKey(const Batch& batch, int64_t row) const;
  void AddQuery(const Batch& batch, int64_t row, uint64_t item_key);

  absl::StatusOr<std::vector<float>> EmbedCorpus(const EvaluationContext& context);
  absl::Status RankBlock(const EvaluationContext& context, size_t block, const Tensor& items,
                         std::vector<double>& metrics) const;
  // Per K: recall, NDCG and hit of one query.
  void Rate(const Query& query, std::span<const float> scores, double* metrics) const;
  std::vector<uint8_t> Hits(const Query& query, std::span<const float> scores, int64_t top_k) const;

  const EvaluationOptions options_;
  const FeatureSchema schema_;
  int64_t num_items_ = 0;
  int64_t block_size_ = 0;              // Queries per block.
  std::vector<bool> item_feature_;      // Per sparse feature: the corpus has it.
  std::vector<int64_t> corpus_places_;  // Corpus row -> place, or -1 for a repetition.
  absl::flat_hash_map<uint64_t, int64_t> place_of_item_;
  struct SeenFeature {
    int feature = 0;  // Of the query.
    int item = 0;     // Of the corpus, same table.
  };
  std::vector<SeenFeature> seen_features_;
  // Per item feature in seen_features_: an id -> places of the items that have it.
  absl::flat_hash_map<int, absl::flat_hash_map<FeatureId, std::vector<int64_t>>> places_of_id_;
  std::vector<int64_t> ks_;  // top_k, then top_ks.
  absl::flat_hash_map<uint64_t, size_t> query_of_user_;
  absl::flat_hash_set<uint64_t> missing_pairs_;  // (user, item) hashes already counted.
  std::vector<Query> queries_;
  std::vector<Batch> blocks_;  // Features of the queries, block_size_ each.
};

}  // namespace pagoda

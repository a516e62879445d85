// What sequence models of the next item share: a sample is a history and the item that
// followed it, and each event of the history is trained to tell what came next from items
// drawn at random.
//
//   history  a b c, item d   ->   after a comes b, after b c, after c d
//
// States are rows [events, d], events being those of all samples behind one another, oldest
// first. Nothing follows a sample's last event where its item's cell is empty, or where the
// schema has a label and the sample's is 0 (an offer that was not taken).
//
// Losses, s(x, y) = <x, y> / temperature, of the two scaled to length 1 with `cosine`, with
// state g, what followed p, drawn items n_1 .. n_m:
//    softmax   -log( e^s(g, p) / (e^s(g, p) + sum over j of e^s(g, n_j)) ), where a drawn item
//              that is p is left out; with log_q each logit less the log of the item's
//              probability to be drawn
//    bce       log(1 + e^-s(g, p)) + sum over j of log(1 + e^s(g, n_j)), where a drawn item that
//              is in the sample's history or its item is left out
// The loss is the mean over events with a next one, weighted by the samples' weights.
//
// Threads: immutable after Declare.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/nn/model.h"

namespace pagoda::nn {

// The features that options `history` and `item` name.
struct HistoryAndItem {
  int history = -1;  // Positions in Batch::sparse.
  int item = -1;
  std::string table;  // Of both.
  int64_t last = 0;   // Events of a history at most.
};
std::vector<OptionSpec> HistoryAndItemOptions();
//   INVALID_ARGUMENT  no such feature, a history that is no sequence or an item that is one, or
//                     another table (named)
absl::StatusOr<HistoryAndItem> FindHistoryAndItem(const FeatureSchema& schema,
                                                  const ModelOptions& options);
// The sequence feature of this name.
//   INVALID_ARGUMENT  there is none, or it is no sequence; `option` named it
absl::StatusOr<int> FindHistory(const FeatureSchema& schema, const std::string& name,
                                const std::string& option);

// The events of every sample, also of histories that are kept once per join row.
struct Events {
  Var values;                    // [events, dim]
  std::vector<int32_t> offsets;  // [batch + 1]
};
Events LookupEvents(ForwardInput& input, LookupHandle lookup);

// What comes next, on the host.
struct NextItems {
  // Per event: the row that follows it, of all events and then the samples' items; -1: none.
  std::vector<int32_t> rows;
  std::vector<FeatureId> ids;   // Per event: what follows; 0 where nothing does.
  std::vector<float> weights;   // Per event: the sample's weight, 0 where nothing follows.
  std::vector<int32_t> sample;  // Per event.
  double count = 0.0;           // Sum of weights.

  // events [events, dim], items [batch, dim] -> what follows each event, [events, dim].
  Var Select(const Var& events, const Var& items) const;
};
// `history`, `item`: positions in Batch::sparse.
//   INVALID_ARGUMENT  a sample has more than one item
absl::StatusOr<NextItems> FindNextItems(const FeatureSchema& schema, const Batch& batch,
                                        int history, int item);

// Draws negatives and has the loss over them.
class NextItemLoss {
 public:
  struct Settings {
    HistoryAndItem features;
    TableHandle table;  // Of their rows.
    bool cosine = false;
  };
  // loss, negatives, negatives_scope, sampler, log_q, temperature, num_items; `defaults` has
  // some of them.
  static std::vector<OptionSpec> Options(const std::vector<OptionSpec>& defaults);
  //   INVALID_ARGUMENT  an option is out of range, or log_q with bce (named)
  static absl::StatusOr<NextItemLoss> Declare(Declaration& declaration, const ModelOptions& options,
                                              Settings settings);
  // states, following [events, d]; offsets [batch + 1]. REQUIRES: a training step.
  LossTerm Apply(ForwardInput& input, const Var& states, const Var& following,
                 const std::vector<int32_t>& offsets, const NextItems& next) const;

 private:
  enum class Scope { kPosition, kSample, kBatch };

  // Place of an event's drawn item j among the drawn ids.
  size_t PlaceOf(size_t event, int64_t j, const std::vector<int32_t>& offsets,
                 const NextItems& next) const;
  Var Score(ForwardInput& input, const Var& states, const std::vector<int32_t>& offsets,
            const NextItems& next) const;
  Var Softmax(ForwardInput& input, const Var& positive, const Var& scores,
              const std::vector<int32_t>& offsets, const NextItems& next) const;
  Var Bce(ForwardInput& input, const Var& positive, const Var& scores,
          const std::vector<int32_t>& offsets, const NextItems& next) const;

  Settings settings_;
  NegativesHandle negatives_;
  bool softmax_ = false;
  bool log_q_ = false;
  Scope scope_ = Scope::kBatch;
  float temperature_ = 1.0f;
  int64_t count_ = 0;  // Per event.
};

}  // namespace pagoda::nn

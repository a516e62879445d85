#include "worker/scoring_pipeline.h"

#include <deque>
#include <memory>
#include <utility>

#include "base/status_macros.h"
#include "worker/prefetch.h"
#include "worker/row_puller.h"

namespace pagoda {
namespace {

// Batches whose rows are on their way while one is scored.
constexpr size_t kPullAhead = 2;

RowPuller MakePuller(const EvaluationContext& context) {
  return RowPuller(context.client, context.model->declaration(), context.wait_max);
}

// Forward without training on a pulled batch; the labels, and the targets unless they are to
// be seen, step aside meanwhile, so that no loss is computed.
absl::Status ScoreBatch(const EvaluationContext& context, PulledBatch& pulled, bool shows_targets,
                        const ScoringVisitor& visit) {
  ModelInstance& model = *context.model;
  PreparedBatch& prepared = pulled.data->prepared;
  std::vector<float> labels = std::exchange(prepared.batch.labels, {});
  std::vector<float> targets;
  if (!shows_targets) targets = std::exchange(prepared.batch.targets, {});
  StepInput input;
  input.batch = &prepared;
  for (const std::vector<float>& rows : pulled.rows) input.rows.push_back(rows.data());
  input.statistics = pulled.StatisticsOfTables();
  input.applied = pulled.version;
  auto step = ModelStep::Forward(model.ctx(), model.model(), model.declaration(),
                                 model.parameters(), input);
  PAGODA_RETURN_IF_ERROR(step.status());
  prepared.batch.labels = std::move(labels);
  if (!shows_targets) prepared.batch.targets = std::move(targets);
  return visit(prepared.batch, step->get());
}

}  // namespace

absl::Status RunScoring(const EvaluationContext& context, const ScoringOptions& options,
                        const ScoringVisitor& visit) {
  PrefetchOptions prefetch;
  prefetch.reader = options.reader;
  prefetch.reader.rank = 0;
  prefetch.reader.num_workers = 1;
  prefetch.reader.epochs = 1;
  prefetch.reader.drop_last = false;
  prefetch.reader.data.shuffle_rows = 0;
  prefetch.reader.data.sharding = "rows";
  prefetch.declaration = &context.model->declaration();
  prefetch.use = BatchUse::kScore;
  prefetch.prepare_every = options.num_workers;
  prefetch.prepare_offset = options.rank;
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<Prefetcher> prefetcher, Prefetcher::Start(prefetch));

  const ModelInstance& model = *context.model;
  RowPuller puller = MakePuller(context);
  std::deque<std::shared_ptr<PulledBatch>> window;
  bool ended = false;
  for (;;) {
    while (!ended && window.size() <= kPullAhead && (window.empty() || prefetcher->Ready())) {
      PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<PrefetchedBatch> batch,
                              NextWhileHealthy(*prefetcher, *context.client));
      ended = batch == nullptr;
      if (!ended) window.push_back(puller.Start(std::move(batch), 0, model.applied_step()));
    }
    if (window.empty()) return absl::OkStatus();
    const std::shared_ptr<PulledBatch> front = std::move(window.front());
    window.pop_front();
    if (!front->data->is_prepared) {
      PAGODA_RETURN_IF_ERROR(visit(front->data->prepared.batch, nullptr));
      continue;
    }
    PAGODA_RETURN_IF_ERROR(puller.Wait(*front));
    PAGODA_RETURN_IF_ERROR(ScoreBatch(context, *front, options.shows_targets, visit));
    puller.Recycle(*front);
  }
}

absl::Status ScoreOneBatch(const EvaluationContext& context, const FeatureSchema& schema,
                           Batch batch, const ScoringVisitor& visit) {
  auto data = std::make_unique<PrefetchedBatch>();
  PAGODA_ASSIGN_OR_RETURN(data->prepared, PrepareBatch(schema, context.model->declaration(),
                                                       std::move(batch), BatchUse::kScore));
  data->is_prepared = true;
  RowPuller puller = MakePuller(context);
  const std::shared_ptr<PulledBatch> pulled =
      puller.Start(std::move(data), 0, context.model->applied_step());
  PAGODA_RETURN_IF_ERROR(puller.Wait(*pulled));
  return ScoreBatch(context, *pulled, false, visit);
}

}  // namespace pagoda

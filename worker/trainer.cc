#include "worker/trainer.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "worker/batch_flow.h"
#include "worker/cut_keeper.h"
#include "worker/early_stopping.h"
#include "worker/evaluation.h"
#include "worker/failure_cause.h"
#include "worker/gradient_pusher.h"
#include "worker/hand_over.h"
#include "worker/job_session.h"
#include "worker/run_log.h"
#include "worker/side_files.h"
#include "worker/step_computation.h"
#include "worker/stopwatch.h"
#include "worker/trainer_check.h"
#include "worker/worker_agreement.h"

namespace pagoda {
namespace {

// What the workers agree on before each step.
struct Boundary {
  bool data_ended = false;  // Of every worker.
  bool stop = false;        // Some worker was asked to stop.
  int64_t pass = 0;         // The lowest pass over the data of the batches to come.
  bool ends = false;        // The stage ends here.
};

class TrainerImpl final : public Trainer {
 public:
  TrainerImpl(ParameterClient* client, AllReduce* allreduce)
      : client_(client), allreduce_(allreduce) {}

  absl::Status Start(const TrainerOptions& options, TrainObserver observer,
                     const std::string& resume_cut);
  absl::StatusOr<TrainResult> Run() override;
  void RequestStop() override { stop_requested_.store(true, std::memory_order_relaxed); }

 private:
  absl::Status Join(const std::string& resume_cut);
  absl::Status Resume(const JobCut& cut);
  // Takes over what session_ says, and makes the first cut of it.
  absl::Status TakeOver();
  absl::Status NoteTables();
  absl::Status RunStages();
  absl::Status StartStage();
  absl::Status RunStage();
  absl::StatusOr<Boundary> AgreeOnBoundary();
  absl::Status AtBoundary(Boundary* boundary);
  absl::Status TrainStep(const Boundary& boundary);
  // Rows that the servers sent back for the cache.
  absl::Status TakeBackRows();
  absl::Status LeaveOut(const std::string& culprit);
  void NoteTrained(const PulledBatch& batch, const Boundary& boundary);

  bool EvaluationDue(const Boundary& boundary) const;
  bool CutDue(const Boundary& boundary, bool improved) const;
  absl::StatusOr<bool> EvaluateNow();
  absl::Status MakeCut();
  absl::StatusOr<JobCut> DescribeState();
  absl::Status LoadDense(const JobCut& cut);
  absl::Status RestoreBest();
  double Progress(double of_data) const;

  const TrainerOptions& options() const { return model_->options(); }
  const StageOptions& stage() const { return options().stages[static_cast<size_t>(stage_index_)]; }
  bool evaluates() const { return !options().evaluation.data.files.empty(); }

  ParameterClient* const client_;
  AllReduce* const allreduce_;
  std::atomic<bool> stop_requested_{false};
  static_assert(std::atomic<bool>::is_always_lock_free, "RequestStop runs in signal handlers");

  std::unique_ptr<ModelInstance> model_;
  std::unique_ptr<StepComputation> computation_;
  std::unique_ptr<GradientPusher> pusher_;
  std::unique_ptr<CutKeeper> keeper_;
  std::unique_ptr<Evaluator> evaluator_;
  std::unique_ptr<RunLog> log_;
  std::unique_ptr<BatchFlow> flow_;
  std::optional<Schedule> schedule_;
  std::optional<EarlyStopping> stopping_;

  // Where the job stands; all of it is in every cut.
  uint64_t epoch_ = 1;
  int64_t stage_index_ = 0;
  Step step_ = 0;              // Applied.
  Step stage_first_step_ = 0;  // Applied before the stage began.
  Step evaluated_step_ = -1;
  int64_t pass_ = 0;  // Of the last step.
  int64_t samples_ = 0;
  int64_t nonfinite_steps_ = 0;
  ReaderPosition position_;  // After the last step's batch.
  proto::JobCut::HandOver hand_over_;

  std::optional<JobCut> source_;  // Until its weights have been taken over.

  Step cut_step_ = -1;  // Of the newest cut.
  TrainResult result_;
  int64_t samples_before_ = 0;  // This run began with so many.
};

absl::Status TrainerImpl::Start(const TrainerOptions& given, TrainObserver observer,
                                const std::string& resume_cut) {
  PAGODA_RETURN_IF_ERROR(CheckTrainerOptions(given));
  TrainerOptions options = given;
  PAGODA_RETURN_IF_ERROR(LoadJoins(&options.schema));
  PAGODA_ASSIGN_OR_RETURN(model_, ModelInstance::Create(options));
  PAGODA_RETURN_IF_ERROR(model_->LoadNegatives());
  PAGODA_ASSIGN_OR_RETURN(computation_,
                          StepComputation::Create(model_.get(), allreduce_, &result_.times));
  PAGODA_ASSIGN_OR_RETURN(schedule_, Schedule::Create(options.schedule));
  PAGODA_ASSIGN_OR_RETURN(
      stopping_, EarlyStopping::Create(options.evaluation.metric, options.evaluation.patience));
  const EvaluationContext context{model_.get(), client_, allreduce_, options.wait_max};
  evaluator_ = std::make_unique<Evaluator>(context, options.evaluation, options.schema);
  const bool sync = options.mode == "sync";
  GradientPusher::Options push;
  push.in_flight_max = sync ? 1 : options.pushes_in_flight;
  push.send_empty = sync;
  push.wait_max = options.wait_max;
  pusher_ = std::make_unique<GradientPusher>(client_, push);
  PAGODA_RETURN_IF_ERROR(Join(resume_cut));
  PAGODA_RETURN_IF_ERROR(computation_->Connect());
  PAGODA_ASSIGN_OR_RETURN(log_, RunLog::Create(options.output_dir, allreduce_->rank() == 0,
                                               options.log_every_steps, std::move(observer)));
  if (source_) PAGODA_RETURN_IF_ERROR(TakeOver());
  const std::string frozen = DescribeFrozen(*model_);
  if (!frozen.empty()) log_->OnLine(absl::StrCat("frozen: ", frozen));
  return absl::OkStatus();
}

absl::Status TrainerImpl::TakeOver() {
  const JobCut& source = *source_;
  absl::Status imported;
  if (allreduce_->rank() == 0) {
    imported = ImportRows(options().start, source.manifest, *model_, client_, &hand_over_);
  }
  PAGODA_RETURN_IF_ERROR(AgreeOnStatus(*allreduce_, imported, "take over rows"));
  PAGODA_ASSIGN_OR_RETURN(const std::vector<float> values,
                          LoadedValues(hand_over_, source, model_.get()));
  PAGODA_RETURN_IF_ERROR(model_->SetDenseValues(values));
  for (const std::string& line : DescribeHandOver(options().start, hand_over_)) log_->OnLine(line);
  source_.reset();
  return MakeCut();
}

absl::Status TrainerImpl::Join(const std::string& resume_cut) {
  PAGODA_ASSIGN_OR_RETURN(JobSession session,
                          StartSession(*model_, client_, allreduce_, resume_cut));
  epoch_ = session.epoch;
  source_ = std::move(session.source);
  hand_over_ = std::move(session.hand_over);
  keeper_ = std::make_unique<CutKeeper>(
      CutKeeper::Options{options().output_dir, epoch_, options().checkpoints_kept}, client_,
      allreduce_);
  PAGODA_RETURN_IF_ERROR(
      AgreeOnStatus(*allreduce_, keeper_->DropGarbage(), "clear unfinished cuts away"));
  if (session.resumed) {
    PAGODA_RETURN_IF_ERROR(Resume(*session.resumed));
    result_.final_cut = resume_cut;
  }
  PAGODA_ASSIGN_OR_RETURN(const JobCut state, DescribeState());
  return CheckSameEverywhere(*allreduce_, DenseHash(state), "their initial dense parameters");
}

absl::Status TrainerImpl::Resume(const JobCut& cut) {
  const proto::JobCut& saved = cut.manifest;
  PAGODA_RETURN_IF_ERROR(LoadDense(cut));
  PAGODA_RETURN_IF_ERROR(
      schedule_->Load(std::vector<double>(saved.schedule().begin(), saved.schedule().end())));
  stopping_->Load(saved.early_stopping());
  step_ = cut_step_ = saved.step();
  stage_index_ = saved.stage();
  stage_first_step_ = saved.stage_first_step();
  evaluated_step_ = saved.evaluated_step();
  pass_ = saved.pass();
  samples_ = samples_before_ = saved.samples();
  nonfinite_steps_ = saved.nonfinite_steps();
  hand_over_ = saved.hand_over();
  if (stage_index_ >= static_cast<int64_t>(options().stages.size())) {
    return absl::FailedPreconditionError(absl::StrCat("the cut is of stage ", stage_index_,
                                                      "; the job has ", options().stages.size()));
  }
  PAGODA_ASSIGN_OR_RETURN(position_,
                          LoadPosition(saved, allreduce_->rank(), allreduce_->num_workers()));
  return keeper_->Restore(saved, options().keep_newer);
}

absl::StatusOr<TrainResult> TrainerImpl::Run() {
  Stopwatch watch;
  absl::Status status = RunStages();
  // The steps before the failing one stand: what was sent of them is seen through.
  if (!status.ok() && pusher_ != nullptr) pusher_->Drain().IgnoreError();
  if (!status.ok()) status = ExplainFailure(status, *client_);
  client_->Leave(status);
  PAGODA_RETURN_IF_ERROR(status);
  result_.seconds = watch.Lap();
  result_.steps = step_;
  result_.samples = samples_ - samples_before_;
  result_.nonfinite_steps = nonfinite_steps_;
  result_.copied_ahead = computation_->copied_ahead();
  result_.best = stopping_->best();
  result_.best_step = stopping_->best_step();
  return result_;
}

absl::Status TrainerImpl::RunStages() {
  const auto num_stages = static_cast<int64_t>(options().stages.size());
  for (;;) {
    PAGODA_RETURN_IF_ERROR(StartStage());
    PAGODA_RETURN_IF_ERROR(RunStage());
    if (result_.interrupted || stage_index_ + 1 == num_stages) break;
    ++stage_index_;
    stage_first_step_ = step_;
    pass_ = 0;
    position_ = ReaderPosition{.global_sample = position_.global_sample};
    PAGODA_ASSIGN_OR_RETURN(stopping_, EarlyStopping::Create(options().evaluation.metric,
                                                             options().evaluation.patience));
  }
  PAGODA_RETURN_IF_ERROR(NoteTables());
  return result_.interrupted ? absl::OkStatus() : RestoreBest();
}

absl::Status TrainerImpl::NoteTables() {
  if (allreduce_->rank() != 0) return absl::OkStatus();
  PAGODA_ASSIGN_OR_RETURN(const std::vector<proto::TableStatReply> servers, client_->TableStats());
  for (size_t t = 0; t < model_->tables().size(); ++t) {
    TableUse& use = result_.tables.emplace_back();
    use.name = model_->tables()[t].name();
    use.frozen = model_->frozen(t);
    for (const proto::TableStatReply& server : servers) {
      for (const proto::TableStat& table : server.tables()) {
        if (table.spec().name() != use.name) continue;
        use.rows += static_cast<int64_t>(table.rows());
        use.pushed += static_cast<int64_t>(table.pushed());
      }
    }
  }
  return absl::OkStatus();
}

absl::Status TrainerImpl::StartStage() {
  PAGODA_RETURN_IF_ERROR(model_->Freeze(stage()));
  ReaderOptions reader;
  reader.data = stage().data;
  reader.schema = options().schema;
  reader.schema.slices.clear();
  reader.batch_size = options().batch_size;
  reader.rank = allreduce_->rank();
  reader.num_workers = allreduce_->num_workers();
  reader.epochs = stage().epochs;
  reader.whole_batches = model_->declaration().NeedsWholeBatches();
  reader.num_parse_threads = std::max(1, options().num_threads);
  absl::StatusOr<std::unique_ptr<BatchFlow>> flow =
      BatchFlow::Start(reader, position_, *model_, client_, &result_.times, computation_->cache());
  PAGODA_RETURN_IF_ERROR(AgreeOnStatus(*allreduce_, flow.status(), "open the training data"));
  flow_ = *std::move(flow);
  return absl::OkStatus();
}

absl::Status TrainerImpl::RunStage() {
  for (;;) {
    PAGODA_ASSIGN_OR_RETURN(Boundary boundary, AgreeOnBoundary());
    PAGODA_RETURN_IF_ERROR(AtBoundary(&boundary));
    if (boundary.ends) break;
    PAGODA_RETURN_IF_ERROR(TrainStep(boundary));
  }
  flow_->AddPrefetchTimes();
  flow_.reset();
  return absl::OkStatus();
}

absl::StatusOr<Boundary> TrainerImpl::AgreeOnBoundary() {
  PAGODA_RETURN_IF_ERROR(client_->Health());
  PAGODA_ASSIGN_OR_RETURN(const PrefetchedBatch* next, flow_->Peek(step_));
  const double mine[] = {next == nullptr ? 0.0 : 1.0,
                         stop_requested_.load(std::memory_order_relaxed) ? 1.0 : 0.0,
                         next == nullptr ? 0.0 : static_cast<double>(next->pass)};
  ScopedTimer timer(&result_.times.allreduce);
  PAGODA_ASSIGN_OR_RETURN(const std::vector<double> all, allreduce_->Gather(mine));
  Boundary boundary;
  boundary.data_ended = true;
  boundary.pass = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i + 2 < all.size(); i += 3) {
    boundary.stop = boundary.stop || all[i + 1] != 0.0;
    if (all[i] == 0.0) continue;
    boundary.data_ended = false;
    boundary.pass = std::min(boundary.pass, static_cast<int64_t>(all[i + 2]));
  }
  const bool enough = stage().steps_max > 0 && step_ - stage_first_step_ >= stage().steps_max;
  boundary.ends = boundary.data_ended || boundary.stop || enough || stopping_->exhausted();
  return boundary;
}

absl::Status TrainerImpl::AtBoundary(Boundary* boundary) {
  bool improved = false;
  if (EvaluationDue(*boundary)) {
    PAGODA_ASSIGN_OR_RETURN(improved, EvaluateNow());
    boundary->ends = boundary->ends || stopping_->exhausted();
  }
  if (CutDue(*boundary, improved)) PAGODA_RETURN_IF_ERROR(MakeCut());
  result_.interrupted = boundary->stop;
  return absl::OkStatus();
}

bool TrainerImpl::EvaluationDue(const Boundary& boundary) const {
  if (!evaluates() || boundary.stop || step_ == 0 || evaluated_step_ == step_) return false;
  if (boundary.ends) return true;
  const int64_t every = options().evaluation.every_steps;
  return every > 0 ? step_ % every == 0 : boundary.pass > pass_;
}

bool TrainerImpl::CutDue(const Boundary& boundary, bool improved) const {
  if (improved) return true;
  if (cut_step_ == step_) return boundary.ends && evaluated_step_ == step_ && !boundary.stop;
  const int64_t every = options().checkpoint_every_steps;
  return boundary.ends || (every > 0 && step_ > 0 && step_ % every == 0);
}

absl::Status TrainerImpl::TrainStep(const Boundary& boundary) {
  const Step step = step_ + 1;
  const double rate = schedule_->Factor(step);
  PAGODA_ASSIGN_OR_RETURN(const std::shared_ptr<PulledBatch> batch, flow_->Take(step_));
  const absl::Cleanup release = [&] { flow_->Release(*batch); };
  NoteTrained(*batch, boundary);
  PAGODA_RETURN_IF_ERROR(TakeBackRows());
  flow_->PullAhead(step_);
  PAGODA_RETURN_IF_ERROR(computation_->Forward(*batch, step));
  PAGODA_RETURN_IF_ERROR(computation_->CopyAhead(flow_->Arrived()));
  PAGODA_ASSIGN_OR_RETURN(const GlobalLoss loss, computation_->SumLosses());
  if (!loss.finite) return LeaveOut(loss.culprit);
  std::unique_ptr<RowGradients> rows = pusher_->Take();
  PAGODA_RETURN_IF_ERROR(computation_->Backward(rows.get()));
  PAGODA_RETURN_IF_ERROR(computation_->CopyAhead(flow_->Arrived()));
  std::string culprit;
  PAGODA_ASSIGN_OR_RETURN(const bool finite, computation_->SumGradients(*rows, &culprit));
  if (!finite) return LeaveOut(culprit);
  {
    ScopedTimer timer(&result_.times.push);
    computation_->AskBack(rows.get());
    PAGODA_RETURN_IF_ERROR(pusher_->Push(step, std::move(rows), static_cast<float>(rate)));
  }
  flow_->StepPushed(step);
  PAGODA_ASSIGN_OR_RETURN(const double norm, computation_->ApplyDense(rate));
  flow_->Recycle(*batch);
  step_ = step;
  model_->set_applied_step(step);
  samples_ += loss.samples;
  result_.last_loss = loss.value;
  return log_->OnStep(
      {step, loss.value, norm, rate, loss.samples, Progress(batch->data->progress)});
}

absl::Status TrainerImpl::TakeBackRows() {
  if (computation_->cache() == nullptr) return absl::OkStatus();
  // The step before this one has changed rows that this one reads.
  if (options().mode == "sync") PAGODA_RETURN_IF_ERROR(pusher_->Drain());
  for (std::unique_ptr<RowGradients>& rows : pusher_->TakeReturned()) {
    PAGODA_RETURN_IF_ERROR(computation_->TakeBack(*rows));
    pusher_->Recycle(std::move(rows));
  }
  result_.row_cache = computation_->cache()->stats();
  return absl::OkStatus();
}

void TrainerImpl::NoteTrained(const PulledBatch& batch, const Boundary& boundary) {
  if (batch.data->is_prepared) position_ = batch.data->position;
  pass_ = boundary.pass;
}

absl::Status TrainerImpl::LeaveOut(const std::string& culprit) {
  PAGODA_RETURN_IF_ERROR(computation_->Undo());
  const std::string what =
      absl::StrCat("step ", step_ + 1, ": ",
                   culprit.empty() ? "another worker's loss or gradient is not finite" : culprit);
  ++nonfinite_steps_;
  if (options().on_nonfinite != "skip") {
    return absl::OutOfRangeError(absl::StrCat(what, "; nothing of the step was applied"));
  }
  if (nonfinite_steps_ > options().nonfinite_steps_max) {
    return absl::OutOfRangeError(
        absl::StrCat(what, "; more than nonfinite_steps_max = ", options().nonfinite_steps_max,
                     " steps were left out"));
  }
  PAGODA_LOG_WARNING("left out {}", what);
  return absl::OkStatus();
}

double TrainerImpl::Progress(double of_data) const {
  if (stage().steps_max <= 0) return of_data;
  const double of_steps =
      static_cast<double>(step_ - stage_first_step_) / static_cast<double>(stage().steps_max);
  return std::min(1.0, std::max(of_data, of_steps));
}

absl::StatusOr<bool> TrainerImpl::EvaluateNow() {
  ScopedTimer timer(&result_.times.evaluate);
  PAGODA_RETURN_IF_ERROR(pusher_->Drain());
  PAGODA_RETURN_IF_ERROR(allreduce_->Barrier());  // In async mode: the others' pushes, too.
  PAGODA_ASSIGN_OR_RETURN(const EvaluationResult result, evaluator_->Evaluate());
  evaluated_step_ = step_;
  schedule_->Report(stopping_->Value(result));
  const bool improved = stopping_->Report(step_, result);
  if (improved) stopping_->SetBestCut(keeper_->NameFor(step_));
  PAGODA_RETURN_IF_ERROR(log_->OnEvaluation(step_, result));
  return improved;
}

absl::Status TrainerImpl::MakeCut() {
  ScopedTimer timer(&result_.times.cut);
  PAGODA_RETURN_IF_ERROR(pusher_->Drain());
  PAGODA_RETURN_IF_ERROR(allreduce_->Barrier());
  PAGODA_ASSIGN_OR_RETURN(JobCut cut, DescribeState());
  PAGODA_ASSIGN_OR_RETURN(result_.final_cut, keeper_->Make(std::move(cut), stopping_->best_cut()));
  cut_step_ = step_;
  log_->OnCut(step_, result_.final_cut);
  return absl::OkStatus();
}

absl::StatusOr<JobCut> TrainerImpl::DescribeState() {
  JobCut cut;
  PAGODA_ASSIGN_OR_RETURN(cut.values, model_->DenseValues());
  PAGODA_ASSIGN_OR_RETURN(cut.slots, computation_->SlotValues());
  cut.job_text = options().job_text;
  proto::JobCut& saved = cut.manifest;
  saved.set_job(options().job);
  saved.set_model(options().model);
  saved.set_cut(keeper_->NameFor(step_));
  saved.set_seed(options().seed);
  saved.set_epoch(epoch_);
  saved.set_step(step_);
  saved.set_mode(options().mode);
  saved.set_batch_size(options().batch_size);
  saved.set_evaluation_batch_size(options().evaluation.batch_size);
  saved.set_stage(stage_index_);
  saved.set_stage_first_step(stage_first_step_);
  saved.set_evaluated_step(evaluated_step_);
  saved.set_pass(pass_);
  saved.set_samples(samples_);
  saved.set_stage_name(options().start.stage);
  if (!hand_over_.directory().empty()) *saved.mutable_hand_over() = hand_over_;
  saved.set_nonfinite_steps(nonfinite_steps_);
  saved.set_created_unix(absl::ToUnixSeconds(absl::Now()));
  saved.set_optimizer_steps(computation_->optimizer().steps());
  for (const double value : schedule_->Save()) saved.add_schedule(value);
  *saved.mutable_early_stopping() = stopping_->Save();
  DescribeModel(*model_, &saved);
  PAGODA_ASSIGN_OR_RETURN(const std::vector<ReaderPosition> positions,
                          GatherPositions(*allreduce_, position_));
  SavePositions(positions, stage().data.sharding, &saved);
  return cut;
}

absl::Status TrainerImpl::LoadDense(const JobCut& cut) {
  PAGODA_RETURN_IF_ERROR(model_->SetDenseValues(cut.values));
  PAGODA_RETURN_IF_ERROR(computation_->SetSlotValues(cut.slots));
  computation_->optimizer().set_steps(cut.manifest.optimizer_steps());
  model_->set_applied_step(cut.manifest.step());
  return absl::OkStatus();
}

absl::Status TrainerImpl::RestoreBest() {
  if (!stopping_->enabled() || !stopping_->has_best() || stopping_->best_step() == step_) {
    return absl::OkStatus();
  }
  const std::string directory = CutDirectory(options().output_dir, stopping_->best_cut());
  absl::StatusOr<JobCut> best = JobCut();
  if (allreduce_->rank() == 0) best = ReadJobCut(directory);
  PAGODA_RETURN_IF_ERROR(AgreeOnStatus(*allreduce_, best.status(), "read the best cut"));
  PAGODA_ASSIGN_OR_RETURN(const JobCut cut, BroadcastCut(*allreduce_, *best));
  PAGODA_RETURN_IF_ERROR(LoadDense(cut));
  PAGODA_RETURN_IF_ERROR(keeper_->Restore(cut.manifest, ""));
  result_.final_cut = directory;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const TrainerOptions& options,
                                                         ParameterClient* client,
                                                         AllReduce* allreduce,
                                                         TrainObserver observer,
                                                         const std::string& resume_cut) {
  auto trainer = std::make_unique<TrainerImpl>(client, allreduce);
  const absl::Status started = trainer->Start(options, std::move(observer), resume_cut);
  if (started.ok()) return trainer;
  const absl::Status explained = ExplainFailure(started, *client);
  client->Leave(explained);
  return explained;
}

}  // namespace pagoda

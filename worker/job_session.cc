#include "worker/job_session.h"

#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/hand_over.h"
#include "worker/worker_agreement.h"

namespace pagoda {
namespace {

void AppendBytes(std::string& out, const void* bytes, size_t size) {
  out.append(static_cast<const char*>(bytes), size);
}

// A cut as one string, for the other workers (their disks need not hold it):
// length of the manifest, manifest, floats, job text.
std::string PackCut(const JobCut& cut) {
  std::string packed;
  const std::string manifest = cut.manifest.SerializeAsString();
  const uint64_t length = manifest.size();
  AppendBytes(packed, &length, sizeof(length));
  packed.append(manifest);
  AppendBytes(packed, cut.values.data(), cut.values.size() * sizeof(float));
  for (const std::vector<float>& slot : cut.slots) {
    AppendBytes(packed, slot.data(), slot.size() * sizeof(float));
  }
  packed.append(cut.job_text);
  return packed;
}

// What ShareStart sends after the epoch.
constexpr char kFresh = 'f', kResumed = 'r', kSource = 's';

absl::StatusOr<JobCut> UnpackCut(absl::string_view packed) {
  JobCut cut;
  uint64_t length = 0;
  std::memcpy(&length, packed.data(), sizeof(length));
  packed.remove_prefix(sizeof(length));
  if (!cut.manifest.ParseFromArray(packed.data(), static_cast<int>(length))) {
    return absl::InternalError("the cut's manifest came damaged from worker 0");
  }
  packed.remove_prefix(length);
  const auto take = [&](int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    if (count > 0) std::memcpy(values.data(), packed.data(), values.size() * sizeof(float));
    packed.remove_prefix(values.size() * sizeof(float));
    return values;
  };
  cut.values = take(cut.manifest.num_elements());
  for (int64_t i = 0; i < cut.manifest.num_slots(); ++i) {
    cut.slots.push_back(take(cut.manifest.num_trainable()));
  }
  cut.job_text = std::string(packed);
  return cut;
}

absl::Status CheckSameJob(const proto::JobCut& manifest, const TrainerOptions& options,
                          const std::string& directory) {
  const auto differs = [&](absl::string_view what, const auto& theirs, const auto& ours) {
    return absl::FailedPreconditionError(
        absl::StrCat(directory, " is a cut of ", what, " ", theirs, "; this job's is ", ours));
  };
  if (manifest.job() != options.job) return differs("job", manifest.job(), options.job);
  if (manifest.model() != options.model) return differs("model", manifest.model(), options.model);
  if (manifest.seed() != options.seed) return differs("seed", manifest.seed(), options.seed);
  return absl::OkStatus();
}

absl::Status CheckNoCuts(const std::string& output_dir) {
  const absl::StatusOr<ListedCut> newest = NewestJobCut(output_dir);
  if (absl::IsNotFound(newest.status())) return absl::OkStatus();
  PAGODA_RETURN_IF_ERROR(newest.status());
  return absl::FailedPreconditionError(
      absl::StrCat(output_dir, " holds an earlier run, whose newest cut is ", newest->name,
                   ": resume it, or choose another output directory"));
}

absl::Status CheckNoRows(ParameterClient* client) {
  PAGODA_ASSIGN_OR_RETURN(const std::vector<proto::TableStatReply> servers, client->TableStats());
  for (const proto::TableStatReply& server : servers) {
    for (const proto::TableStat& table : server.tables()) {
      if (table.rows() == 0) continue;
      return absl::FailedPreconditionError(absl::StrCat(
          "table '", table.spec().name(), "' already holds ", table.rows(),
          " rows of an earlier run: resume it from a cut, or give the servers an empty directory"));
    }
  }
  return absl::OkStatus();
}

// The cut of another job that this one starts from, if it does.
absl::Status ReadSource(const TrainerOptions& options, JobSession* session) {
  if (options.start.from.empty()) return absl::OkStatus();
  PAGODA_ASSIGN_OR_RETURN(const std::string directory, FindSourceCut(options.start));
  PAGODA_ASSIGN_OR_RETURN(session->source, ReadJobCut(directory));
  session->source->slots.clear();
  session->source->manifest.set_num_slots(0);
  // Only told to the other workers.
  session->source->job_text = directory;
  return absl::OkStatus();
}

// What worker 0 finds out alone: the cuts, and the epoch of this run.
absl::StatusOr<JobSession> ReadStart(const TrainerOptions& options, const std::string& resume_cut) {
  JobSession session;
  if (resume_cut.empty()) {
    PAGODA_RETURN_IF_ERROR(CheckNoCuts(options.output_dir));
    PAGODA_RETURN_IF_ERROR(ReadSource(options, &session));
  } else {
    PAGODA_ASSIGN_OR_RETURN(session.resumed, ReadJobCut(resume_cut));
    PAGODA_RETURN_IF_ERROR(CheckSameJob(session.resumed->manifest, options, resume_cut));
  }
  const uint64_t at_least = session.resumed ? session.resumed->manifest.epoch() : 0;
  PAGODA_ASSIGN_OR_RETURN(session.epoch, ClaimEpoch(options.output_dir, at_least));
  return session;
}

absl::StatusOr<JobSession> ShareStart(AllReduce& allreduce, const JobSession& first) {
  std::string bytes;
  AppendBytes(bytes, &first.epoch, sizeof(first.epoch));
  bytes.push_back(first.resumed ? kResumed : first.source ? kSource : kFresh);
  if (first.resumed) bytes.append(PackCut(*first.resumed));
  if (first.source) bytes.append(PackCut(*first.source));
  PAGODA_ASSIGN_OR_RETURN(bytes, BroadcastBytes(allreduce, bytes));
  JobSession session;
  std::memcpy(&session.epoch, bytes.data(), sizeof(session.epoch));
  const char kind = bytes[sizeof(session.epoch)];
  const absl::string_view packed = absl::string_view(bytes).substr(sizeof(session.epoch) + 1);
  if (kind == kResumed) {
    PAGODA_ASSIGN_OR_RETURN(session.resumed, UnpackCut(packed));
  } else if (kind == kSource) {
    PAGODA_ASSIGN_OR_RETURN(session.source, UnpackCut(packed));
  }
  return session;
}

// What the cut means for this model, before any server is asked.
absl::Status FitModel(JobSession* session, ModelInstance* model) {
  if (session->resumed) {
    model->TakeInitialValues(session->resumed->manifest);
    return CheckSameModel(session->resumed->manifest, *model);
  }
  if (!session->source) return absl::OkStatus();
  const proto::JobCut& source = session->source->manifest;
  const std::string& directory = session->source->job_text;
  absl::StatusOr<proto::JobCut::HandOver> plan =
      PlanHandOver(model->options().start, source, *model);
  PAGODA_RETURN_IF_ERROR_CONTEXT(plan.status(), directory);
  session->hand_over = *std::move(plan);
  session->hand_over.set_directory(directory);
  TakeInitialValues(session->hand_over, source, model);
  return absl::OkStatus();
}

absl::Status OpenClient(const ModelInstance& model, const AllReduce& allreduce,
                        const JobSession& session, ParameterClient* client) {
  SessionOptions options = SessionOptionsFor(model, allreduce);
  options.epoch = session.epoch;
  options.restoring = session.resumed.has_value();
  if (session.resumed) options.applied_step = session.resumed->manifest.step();
  PAGODA_RETURN_IF_ERROR(client->Open(options));
  if (session.resumed || allreduce.rank() != 0) return absl::OkStatus();
  return CheckNoRows(client);
}

}  // namespace

absl::StatusOr<JobCut> BroadcastCut(AllReduce& allreduce, const JobCut& cut) {
  PAGODA_ASSIGN_OR_RETURN(const std::string packed, BroadcastBytes(allreduce, PackCut(cut)));
  return UnpackCut(packed);
}

SessionOptions SessionOptionsFor(const ModelInstance& model, const AllReduce& allreduce) {
  SessionOptions options;
  options.job = model.options().job;
  options.rank = allreduce.rank();
  options.num_workers = allreduce.num_workers();
  options.mode = model.options().mode;
  options.tables = model.tables();
  options.timeout = model.options().timeout;
  return options;
}

absl::StatusOr<JobSession> StartSession(ModelInstance& model, ParameterClient* client,
                                        AllReduce* allreduce, const std::string& resume_cut) {
  JobSession first;
  absl::Status read;
  if (allreduce->rank() == 0) {
    absl::StatusOr<JobSession> found = ReadStart(model.options(), resume_cut);
    read = found.status();
    if (found.ok()) first = *std::move(found);
  }
  PAGODA_RETURN_IF_ERROR(AgreeOnStatus(*allreduce, read, "start the job"));
  PAGODA_ASSIGN_OR_RETURN(JobSession session, ShareStart(*allreduce, first));
  absl::Status opened = FitModel(&session, &model);
  if (opened.ok()) opened = OpenClient(model, *allreduce, session, client);
  PAGODA_RETURN_IF_ERROR(AgreeOnStatus(*allreduce, opened, "join the job"));
  return session;
}

absl::Status CheckSameModel(const proto::JobCut& manifest, const ModelInstance& model) {
  proto::JobCut ours;
  DescribeModel(model, &ours);
  for (int i = 0; i < std::max(ours.dense_size(), manifest.dense_size()); ++i) {
    if (i < ours.dense_size() && i < manifest.dense_size() &&
        ours.dense(i).SerializeAsString() == manifest.dense(i).SerializeAsString()) {
      continue;
    }
    const auto& named = i < ours.dense_size() ? ours.dense(i) : manifest.dense(i);
    return absl::FailedPreconditionError(
        absl::StrCat("the cut's model differs from this job's at dense parameter '", named.name(),
                     "' (name, shape or order)"));
  }
  return absl::OkStatus();
}

void DescribeModel(const ModelInstance& model, proto::JobCut* manifest) {
  for (const proto::TableSpec& table : model.tables()) *manifest->add_tables() = table;
  const ParameterSet& parameters = model.parameters();
  for (size_t i = 0; i < parameters.decls().size(); ++i) {
    const DenseDecl& decl = parameters.decls()[i];
    proto::JobCut::Dense* dense = manifest->add_dense();
    dense->set_name(decl.name);
    for (const int64_t size : decl.shape) dense->add_shape(size);
    dense->set_offset(parameters.offset(DenseHandle{static_cast<int>(i)}));
    dense->set_trainable(decl.trainable);
  }
}

absl::StatusOr<std::vector<ReaderPosition>> GatherPositions(AllReduce& allreduce,
                                                            const ReaderPosition& mine) {
  // Exact: every number here is below 2^53.
  constexpr size_t kFields = 10;
  const std::array<double, kFields> fields = {
      static_cast<double>(mine.epoch),         static_cast<double>(mine.window),
      static_cast<double>(mine.window_file),   static_cast<double>(mine.window_byte),
      static_cast<double>(mine.window_line),   static_cast<double>(mine.window_row),
      static_cast<double>(mine.row_in_window), static_cast<double>(mine.global_sample),
      static_cast<double>(mine.bad_rows),      static_cast<double>(mine.window_file_row)};
  PAGODA_ASSIGN_OR_RETURN(const std::vector<double> all, allreduce.Gather(fields));
  std::vector<ReaderPosition> positions(all.size() / kFields);
  for (size_t rank = 0; rank < positions.size(); ++rank) {
    const double* field = all.data() + rank * kFields;
    ReaderPosition& position = positions[rank];
    position.epoch = static_cast<int64_t>(field[0]);
    position.window = static_cast<int64_t>(field[1]);
    position.window_file = static_cast<int64_t>(field[2]);
    position.window_byte = static_cast<int64_t>(field[3]);
    position.window_line = static_cast<int64_t>(field[4]);
    position.window_row = static_cast<int64_t>(field[5]);
    position.row_in_window = static_cast<int64_t>(field[6]);
    position.global_sample = static_cast<uint64_t>(field[7]);
    position.bad_rows = static_cast<int64_t>(field[8]);
    position.window_file_row = static_cast<int64_t>(field[9]);
  }
  return positions;
}

void SavePositions(const std::vector<ReaderPosition>& positions, const std::string& sharding,
                   proto::JobCut* manifest) {
  manifest->set_sharding(sharding);
  for (const ReaderPosition& position : positions) {
    proto::JobCut::Position* saved = manifest->add_positions();
    saved->set_epoch(position.epoch);
    saved->set_window(position.window);
    saved->set_window_file(position.window_file);
    saved->set_window_byte(position.window_byte);
    saved->set_window_line(position.window_line);
    saved->set_window_row(position.window_row);
    saved->set_window_file_row(position.window_file_row);
    saved->set_row_in_window(position.row_in_window);
    saved->set_global_sample(position.global_sample);
    saved->set_bad_rows(position.bad_rows);
  }
}

absl::StatusOr<ReaderPosition> LoadPosition(const proto::JobCut& manifest, int rank,
                                            int num_workers) {
  const bool own = manifest.sharding() == "files";
  if (own && manifest.positions_size() != num_workers) {
    return absl::FailedPreconditionError(
        absl::StrCat("the cut was made by ", manifest.positions_size(),
                     " workers that share out files; ", num_workers, " cannot continue it"));
  }
  ReaderPosition position;
  if (manifest.positions_size() == 0) return position;
  // "rows": one position for all but the count of bad rows, which a worker that is
  // new to the job takes from worker 0.
  const proto::JobCut::Position& saved =
      manifest.positions(rank < manifest.positions_size() ? rank : 0);
  position.epoch = saved.epoch();
  position.window = saved.window();
  position.window_file = saved.window_file();
  position.window_byte = saved.window_byte();
  position.window_line = saved.window_line();
  position.window_row = saved.window_row();
  position.window_file_row = saved.window_file_row();
  position.row_in_window = saved.row_in_window();
  position.global_sample = saved.global_sample();
  position.bad_rows = saved.bad_rows();
  return position;
}

}  // namespace pagoda

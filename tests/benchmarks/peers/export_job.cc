// Trains a job in this process and writes down all that another framework needs to
// train the same: initial values, batches in order, losses, and the scores of
// [data.test] in the end. For movielens_parity.py.
//
//   export_job JOB.toml DIRECTORY [KEY=VALUE ...]     as `pagoda train --set KEY=VALUE`
//
// DIRECTORY must exist and holds afterwards (.npy, see npy_file.h):
//   job.json                    model, parameters [name, shape], tables [name, dim],
//                               features [name, table, pooling]
//   initial.PARAMETER           f32, the parameter's shape
//   rows.TABLE.ids              u64 [n]: every id of the batches below
//   rows.TABLE.values           f32 [n, dim]: their initial weights
//   train.sizes                 i64 [steps]: samples of each step
//   train.FEATURE.ids           u64: of all steps, one after another
//   train.FEATURE.offsets       i64 [samples + 1] into ids
//   train.dense, train.labels   f32 [samples, numeric features], [samples]
//   test.* but sizes            the same for [data.test], when the job has one
//   losses                      f64 [steps]: as the trainer reports them
//   test.scores                 f32 [test samples]: by the trained model
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <future>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "deploy/embedded_servers.h"
#include "deploy/job_stages.h"
#include "deploy/trained_job.h"
#include "tests/benchmarks/npy_file.h"
#include "worker/job_session.h"
#include "worker/model_instance.h"
#include "worker/trainer.h"

namespace pagoda {
namespace {

// The samples of some batches, one after another.
class Samples {
 public:
  explicit Samples(size_t num_features) : features_(num_features) {}

  void Add(const Batch& batch) {
    sizes_.push_back(batch.size);
    dense_.insert(dense_.end(), batch.dense.begin(), batch.dense.end());
    labels_.insert(labels_.end(), batch.labels.begin(), batch.labels.end());
    for (size_t f = 0; f < features_.size(); ++f) {
      const RaggedIds& from = batch.sparse[f];
      Feature& to = features_[f];
      const auto before = static_cast<int64_t>(to.ids.size());
      to.ids.insert(to.ids.end(), from.ids.begin(), from.ids.end());
      for (size_t i = 1; i < from.offsets.size(); ++i) {
        to.offsets.push_back(before + from.offsets[i]);
      }
    }
  }

  const std::vector<uint64_t>& ids(size_t feature) const { return features_[feature].ids; }

  absl::Status Write(const std::string& prefix, const FeatureSchema& schema) const {
    const std::vector<int> sparse = schema.SparseFeatures();
    for (size_t f = 0; f < features_.size(); ++f) {
      const std::string name =
          absl::StrCat(prefix, ".", schema.features[static_cast<size_t>(sparse[f])].name);
      PAGODA_RETURN_IF_ERROR(WriteVector(name + ".ids.npy", features_[f].ids));
      PAGODA_RETURN_IF_ERROR(WriteVector(name + ".offsets.npy", features_[f].offsets));
    }
    const auto num_samples = static_cast<int64_t>(labels_.size());
    const auto num_dense = static_cast<int64_t>(schema.DenseFeatures().size());
    PAGODA_RETURN_IF_ERROR(
        WriteNpy(prefix + ".dense.npy", {num_samples, num_dense}, dense_.data()));
    PAGODA_RETURN_IF_ERROR(WriteVector(prefix + ".labels.npy", labels_));
    return WriteVector(prefix + ".sizes.npy", sizes_);
  }

  template <typename T>
  static absl::Status WriteVector(const std::string& path, const std::vector<T>& values) {
    return WriteNpy(path, {static_cast<int64_t>(values.size())}, values.data());
  }

 private:
  struct Feature {
    std::vector<uint64_t> ids;
    std::vector<int64_t> offsets = {0};
  };
  std::vector<Feature> features_;
  std::vector<int64_t> sizes_;
  std::vector<float> dense_, labels_;
};

// Keeps a copy of every batch that passes.
class RecordingReader final : public BatchReader {
 public:
  RecordingReader(std::unique_ptr<BatchReader> reader, std::vector<Batch>* batches)
      : reader_(std::move(reader)), batches_(batches) {}
  absl::StatusOr<std::optional<Batch>> Next() override {
    PAGODA_ASSIGN_OR_RETURN(std::optional<Batch> batch, reader_->Next());
    if (batch) batches_->push_back(*batch);
    return batch;
  }
  ReaderPosition position() const override { return reader_->position(); }
  int64_t bad_rows() const override { return reader_->bad_rows(); }
  double progress() const override { return reader_->progress(); }

 private:
  const std::unique_ptr<BatchReader> reader_;
  std::vector<Batch>* const batches_;
};

struct Recording {
  std::vector<Batch> batches;  // Perhaps more than there were steps.
  std::vector<double> losses;
  std::string final_cut;
};

absl::StatusOr<Recording> Train(const JobConfig& job) {
  Recording recording;
  TrainerOptions options = job.trainer;
  options.job_text = job.effective_text;
  options.open_reader =
      [&](const ReaderOptions& reader,
          const ReaderPosition& start) -> absl::StatusOr<std::unique_ptr<BatchReader>> {
    PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<BatchReader> opened, BatchReader::Open(reader, start));
    return std::make_unique<RecordingReader>(std::move(opened), &recording.batches);
  };
  TrainObserver observer;
  observer.on_step = [&](Step, double loss) { recording.losses.push_back(loss); };
  PAGODA_ASSIGN_OR_RETURN(
      const std::unique_ptr<EmbeddedServers> servers,
      EmbeddedServers::Open(job.server, {absl::StrCat(options.output_dir, "/server-0")}));
  const std::unique_ptr<AllReduce> alone = SingleWorker();
  PAGODA_ASSIGN_OR_RETURN(
      const std::unique_ptr<Trainer> trainer,
      Trainer::Create(options, &servers->client(), alone.get(), std::move(observer), ""));
  PAGODA_ASSIGN_OR_RETURN(const TrainResult result, trainer->Run());
  recording.final_cut = result.final_cut;
  return recording;
}

// The ids of each table, ascending.
std::vector<std::vector<FeatureId>> IdsOfTables(const Declaration& declaration,
                                                const std::vector<const Samples*>& samples) {
  std::vector<std::set<FeatureId>> ids(declaration.tables.size());
  for (const LookupDecl& lookup : declaration.lookups) {
    for (size_t k = 0; k < lookup.features.size(); ++k) {
      for (const Samples* part : samples) {
        const std::vector<uint64_t>& of_feature =
            part->ids(static_cast<size_t>(lookup.features[k]));
        ids[static_cast<size_t>(lookup.tables[k])].insert(of_feature.begin(), of_feature.end());
      }
    }
  }
  std::vector<std::vector<FeatureId>> lists;
  for (const auto& set : ids) lists.emplace_back(set.begin(), set.end());
  return lists;
}

// Reads the rows from a store that was never pushed to: their initial values.
absl::Status WriteInitialRows(const JobConfig& job, ModelInstance& model,
                              const std::vector<std::vector<FeatureId>>& ids,
                              const std::string& directory) {
  PAGODA_ASSIGN_OR_RETURN(
      const std::unique_ptr<EmbeddedServers> servers,
      EmbeddedServers::Open(job.server, {absl::StrCat(job.trainer.output_dir, "/untouched")}));
  ParameterClient& client = servers->client();
  PAGODA_RETURN_IF_ERROR(client.Open(SessionOptionsFor(model, *SingleWorker())));
  std::vector<std::vector<float>> rows;
  std::vector<TablePull> pulls;
  for (size_t t = 0; t < ids.size(); ++t) {
    rows.emplace_back(ids[t].size() * static_cast<size_t>(model.dim(t)));
    pulls.push_back({static_cast<int>(t), ids[t], rows[t].data()});
  }
  std::promise<absl::Status> done;
  client.Pull(std::move(pulls), 0, [&](absl::Status status) { done.set_value(status); });
  PAGODA_RETURN_IF_ERROR(done.get_future().get());
  client.Leave(absl::OkStatus());
  for (size_t t = 0; t < ids.size(); ++t) {
    const std::string prefix =
        absl::StrCat(directory, "/rows.", model.declaration().tables[t].name);
    PAGODA_RETURN_IF_ERROR(Samples::WriteVector(prefix + ".ids.npy", ids[t]));
    PAGODA_RETURN_IF_ERROR(WriteNpy(prefix + ".values.npy",
                                    {static_cast<int64_t>(ids[t].size()), model.dim(t)},
                                    rows[t].data()));
  }
  return absl::OkStatus();
}

absl::Status WriteInitialParameters(ModelInstance& model, const std::string& directory) {
  PAGODA_ASSIGN_OR_RETURN(const std::vector<float> values, model.DenseValues());
  const std::vector<DenseDecl>& decls = model.declaration().dense;
  for (size_t i = 0; i < decls.size(); ++i) {
    const int64_t offset = model.parameters().offset(DenseHandle{static_cast<int>(i)});
    PAGODA_RETURN_IF_ERROR(WriteNpy(absl::StrCat(directory, "/initial.", decls[i].name, ".npy"),
                                    decls[i].shape, values.data() + offset));
  }
  return absl::OkStatus();
}

std::string Quoted(const std::string& text) {
  return absl::StrCat("\"", text, "\"");
}

absl::Status WriteJobJson(const ModelInstance& model, const std::string& directory) {
  const Declaration& declaration = model.declaration();
  const FeatureSchema& schema = model.options().schema;
  std::vector<std::string> parameters, tables, features;
  for (const DenseDecl& decl : declaration.dense) {
    parameters.push_back(absl::StrCat("[", Quoted(decl.name), ", ", ShapeString(decl.shape), "]"));
  }
  for (const TableDecl& table : declaration.tables) {
    tables.push_back(absl::StrCat("[", Quoted(table.name), ", ", table.dim, "]"));
  }
  for (const LookupDecl& lookup : declaration.lookups) {
    for (size_t k = 0; k < lookup.features.size(); ++k) {
      const int position = schema.SparseFeatures()[static_cast<size_t>(lookup.features[k])];
      const FeatureSpec& spec = schema.features[static_cast<size_t>(position)];
      const char* const pooling[] = {"sum", "mean", "sqrtn"};
      features.push_back(
          absl::StrCat("[", Quoted(spec.name), ", ",
                       Quoted(declaration.tables[static_cast<size_t>(lookup.tables[k])].name), ", ",
                       Quoted(pooling[static_cast<int>(spec.pooling)]), "]"));
    }
  }
  std::ofstream file(directory + "/job.json");
  file << absl::StrCat("{\"model\": ", Quoted(model.options().model), ",\n \"parameters\": [",
                       absl::StrJoin(parameters, ", "), "],\n \"tables\": [",
                       absl::StrJoin(tables, ", "), "],\n \"features\": [",
                       absl::StrJoin(features, ", "), "]}\n");
  file.close();
  if (file) return absl::OkStatus();
  return absl::UnknownError(absl::StrCat(directory, "/job.json: cannot write"));
}

// Scores [data.test] with the cut; returns its samples.
absl::StatusOr<Samples> ScoreTest(const std::string& cut, size_t num_features,
                                  const std::string& directory) {
  PAGODA_ASSIGN_OR_RETURN(const TrainedJob trained, OpenTrainedJob(cut, {}));
  PAGODA_ASSIGN_OR_RETURN(const TestSet input, InputOf(trained.job, "test"));
  ScoreOptions options;
  options.data = input.data;
  options.schema = input.schema;
  options.batch_size = trained.model->evaluation_batch_size();
  Samples samples(num_features);
  std::vector<float> scores;
  PAGODA_RETURN_IF_ERROR(
      trained.model->Score(options, [&](const Batch& batch, const BatchScores* made) {
        samples.Add(batch);
        scores.insert(scores.end(), made->scores.begin(), made->scores.end());
        return absl::OkStatus();
      }));
  PAGODA_RETURN_IF_ERROR(Samples::WriteVector(directory + "/test.scores.npy", scores));
  PAGODA_RETURN_IF_ERROR(samples.Write(directory + "/test", trained.job.trainer.schema));
  return samples;
}

absl::Status Export(const std::string& job_path, const std::string& directory,
                    const std::vector<std::string>& assignments) {
  PAGODA_ASSIGN_OR_RETURN(const JobConfig job, LoadJob(job_path, assignments));
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<ModelInstance> model,
                          ModelInstance::Create(job.trainer));
  PAGODA_RETURN_IF_ERROR(WriteJobJson(*model, directory));
  PAGODA_RETURN_IF_ERROR(WriteInitialParameters(*model, directory));
  PAGODA_ASSIGN_OR_RETURN(const Recording recording, Train(job));
  const size_t num_features = job.trainer.schema.SparseFeatures().size();
  Samples train(num_features);
  for (size_t step = 0; step < recording.losses.size(); ++step) {
    train.Add(recording.batches[step]);
  }
  PAGODA_RETURN_IF_ERROR(train.Write(directory + "/train", job.trainer.schema));
  PAGODA_RETURN_IF_ERROR(Samples::WriteVector(directory + "/losses.npy", recording.losses));
  std::vector<const Samples*> samples = {&train};
  Samples test(num_features);
  if (job.test) {
    PAGODA_ASSIGN_OR_RETURN(test, ScoreTest(recording.final_cut, num_features, directory));
    samples.push_back(&test);
  }
  return WriteInitialRows(job, *model, IdsOfTables(model->declaration(), samples), directory);
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: export_job JOB.toml DIRECTORY [KEY=VALUE ...]\n");
    return 2;
  }
  const absl::Status status =
      pagoda::Export(argv[1], argv[2], std::vector<std::string>(argv + 3, argv + argc));
  if (!status.ok()) std::fprintf(stderr, "export_job: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

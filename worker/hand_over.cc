#include "worker/hand_over.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "algorithms/nn/name_pattern.h"
#include "base/status_macros.h"
#include "worker/durable_file.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

// One side's names of a kind, with what must agree.
struct Named {
  std::string name;
  std::vector<int64_t> shape;  // Of a row; of a dense parameter.
};

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

std::vector<Named> TablesOf(const auto& specs) {
  std::vector<Named> named;
  for (const proto::TableSpec& spec : specs) named.push_back({spec.name(), {int64_t{spec.dim()}}});
  return named;
}

std::vector<Named> DenseOf(const proto::JobCut& manifest) {
  std::vector<Named> named;
  for (const proto::JobCut::Dense& dense : manifest.dense()) {
    named.push_back({dense.name(), {dense.shape().begin(), dense.shape().end()}});
  }
  return named;
}

std::vector<Named> DenseOf(const ModelInstance& model) {
  std::vector<Named> named;
  for (const DenseDecl& decl : model.parameters().decls()) {
    named.push_back({decl.name, {decl.shape.begin(), decl.shape.end()}});
  }
  return named;
}

const Named* Find(const std::vector<Named>& named, const std::string& name) {
  for (const Named& one : named) {
    if (one.name == name) return &one;
  }
  return nullptr;
}

// Pairs of one kind: source by name here.
class Pairing {
 public:
  Pairing(NameKind kind, std::vector<Named> source, std::vector<Named> here)
      : kind_(kind), source_(std::move(source)), here_(std::move(here)) {}

  struct Outcome {
    int matched = 0;      // Names of the cut that the pattern stands for.
    int paired = 0;       // Of these: with a partner here.
    std::string lacking;  // A name that is not here.
  };
  void Apply(const NamePattern& pattern, Outcome* outcome) {
    if (!pattern.About(kind_)) return;
    for (const Named& source : source_) {
      const std::optional<std::string> mapped = pattern.Map(source.name);
      if (!mapped.has_value()) continue;
      ++outcome->matched;
      if (pattern.excludes()) {
        std::erase_if(pairs_, [&](const auto& pair) { return pair.second == source.name; });
      } else if (Find(here_, *mapped) == nullptr) {
        outcome->lacking = *mapped;
      } else {
        pairs_[*mapped] = source.name;
        ++outcome->paired;
      }
    }
  }

  absl::Status CheckShapes(const char* what) const {
    for (const auto& [name, from] : pairs_) {
      const Named* here = Find(here_, name);
      const Named* source = Find(source_, from);
      if (here->shape == source->shape) continue;
      return absl::FailedPreconditionError(
          absl::StrCat(what, " '", from, "' of the cut has the shape ", ShapeText(source->shape),
                       ", '", name, "' here ", ShapeText(here->shape),
                       ": nothing was loaded; leave it out with \"!", from, "\" in load"));
    }
    return absl::OkStatus();
  }

  // In the order of the model.
  void Save(const std::string& what, google::protobuf::RepeatedPtrField<proto::JobCut::Loaded>* out,
            proto::JobCut::HandOver* plan) const {
    std::set<std::string> used;
    for (const Named& here : here_) {
      const auto pair = pairs_.find(here.name);
      if (pair == pairs_.end()) {
        plan->add_fresh(what + here.name);
        continue;
      }
      used.insert(pair->second);
      proto::JobCut::Loaded* loaded = out->Add();
      loaded->set_name(here.name);
      loaded->set_source(pair->second);
    }
    for (const Named& source : source_) {
      if (used.count(source.name) == 0) plan->add_unexpected(what + source.name);
    }
  }

  void AddNames(std::vector<std::string>* source, std::vector<std::string>* here) const {
    for (const Named& named : source_) source->push_back(named.name);
    for (const Named& named : here_) here->push_back(named.name);
  }
  const std::map<std::string, std::string>& pairs() const { return pairs_; }

 private:
  const NameKind kind_;
  const std::vector<Named> source_, here_;
  std::map<std::string, std::string> pairs_;  // Name here -> name in the cut.
};

absl::Status ApplyPattern(const std::string& text, Pairing* tables, Pairing* dense) {
  const absl::StatusOr<NamePattern> pattern = NamePattern::Parse(text, /*may_rename=*/true);
  PAGODA_RETURN_IF_ERROR_CONTEXT(pattern.status(), "load");
  Pairing::Outcome outcome;
  tables->Apply(*pattern, &outcome);
  dense->Apply(*pattern, &outcome);
  std::vector<std::string> source, here;
  tables->AddNames(&source, &here);
  dense->AddNames(&source, &here);
  if (outcome.matched == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("load: \"", text, "\" names no table and no dense parameter of the cut",
                     DidYouMean(text, source)));
  }
  const bool wants_all = pattern->literal() && !outcome.lacking.empty();
  if (pattern->excludes() || (outcome.paired > 0 && !wants_all)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("load: \"", text, "\": the cut has it, but this model has no '", outcome.lacking,
                   "'", DidYouMean(outcome.lacking, here)));
}

absl::Status CheckFtrl(const ModelInstance& model, const Pairing& tables) {
  for (const proto::TableSpec& table : model.tables()) {
    const auto pair = tables.pairs().find(table.name());
    if (pair == tables.pairs().end() || table.frozen()) continue;
    if (!absl::EndsWith(table.optimizer().kind(), "ftrl")) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "table '", table.name(), "' is trained by ", table.optimizer().kind(),
        ", whose weights follow from slots that are not handed over: leave it out with \"!",
        pair->second, "\" in load, freeze it, or give it another optimizer in [table.",
        table.name(), "]"));
  }
  return absl::OkStatus();
}

int FindDense(const auto& dense, const std::string& name) {
  for (int i = 0; i < static_cast<int>(dense.size()); ++i) {
    if (dense[i].name() == name) return i;
  }
  return -1;
}

const std::string& FinishedPrefix() {
  static const std::string* const kPrefix = new std::string("cut ");
  return *kPrefix;
}

void AddNote(const std::string& note, const auto& names, std::vector<std::string>* lines) {
  if (!names.empty()) lines->push_back(absl::StrCat("  ", note, absl::StrJoin(names, ", ")));
}

std::string LoadedText(const proto::JobCut::Loaded& loaded) {
  return loaded.source() == loaded.name() ? loaded.name()
                                          : absl::StrCat(loaded.source(), " -> ", loaded.name());
}

}  // namespace

absl::Status WriteFinished(const std::string& output_dir, const std::string& cut_directory) {
  return ReplaceFileDurably(
      absl::StrCat(output_dir, "/finished"),
      absl::StrCat(FinishedPrefix(), fs::path(cut_directory).filename().string(), "\n"));
}

absl::Status ForgetFinished(const std::string& output_dir) {
  std::error_code error;
  const std::string path = absl::StrCat(output_dir, "/finished");
  fs::remove(path, error);
  if (!error) return absl::OkStatus();
  return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot remove ", path));
}

absl::StatusOr<std::string> ReadFinished(const std::string& output_dir) {
  const std::string path = absl::StrCat(output_dir, "/finished");
  PAGODA_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path));
  absl::string_view name = text;
  if (!absl::ConsumePrefix(&name, FinishedPrefix()) || !absl::ConsumeSuffix(&name, "\n")) {
    return absl::DataLossError(absl::StrCat(path, " does not name a cut"));
  }
  return CutDirectory(output_dir, std::string(name));
}

absl::StatusOr<std::string> FindSourceCut(const StartOptions& options) {
  std::error_code error;
  if (!fs::is_directory(options.from, error)) {
    return absl::NotFoundError(absl::StrCat("from: there is no directory ", options.from));
  }
  if (fs::exists(fs::path(options.from) / "manifest", error)) return options.from;
  if (options.cut == "last") {
    PAGODA_ASSIGN_OR_RETURN(const ListedCut newest, NewestJobCut(options.from));
    return newest.directory;
  }
  const absl::StatusOr<std::string> finished = ReadFinished(options.from);
  if (!absl::IsNotFound(finished.status())) return finished;
  return absl::FailedPreconditionError(
      absl::StrCat("from: the job in ", options.from,
                   " has not finished; finish it, or take its newest cut with cut = \"last\""));
}

absl::StatusOr<proto::JobCut::HandOver> PlanHandOver(const StartOptions& options,
                                                     const proto::JobCut& source,
                                                     const ModelInstance& model) {
  Pairing tables(NameKind::kTable, TablesOf(source.tables()), TablesOf(model.tables()));
  Pairing dense(NameKind::kDense, DenseOf(source), DenseOf(model));
  const std::vector<std::string> everything = {"*"};
  for (const std::string& text : options.load.empty() ? everything : options.load) {
    PAGODA_RETURN_IF_ERROR(ApplyPattern(text, &tables, &dense));
  }
  PAGODA_RETURN_IF_ERROR(tables.CheckShapes("table"));
  PAGODA_RETURN_IF_ERROR(dense.CheckShapes("dense parameter"));
  PAGODA_RETURN_IF_ERROR(CheckFtrl(model, tables));
  proto::JobCut::HandOver plan;
  plan.set_stage(options.from_stage);
  plan.set_job(source.job());
  plan.set_step(source.step());
  plan.set_dense_checksum(source.dense_checksum());
  tables.Save("table ", plan.mutable_tables(), &plan);
  dense.Save("", plan.mutable_dense(), &plan);
  return plan;
}

void TakeInitialValues(const proto::JobCut::HandOver& plan, const proto::JobCut& source,
                       ModelInstance* model) {
  for (const proto::JobCut::Loaded& loaded : plan.tables()) {
    for (const proto::TableSpec& spec : source.tables()) {
      if (spec.name() != loaded.source()) continue;
      for (size_t i = 0; i < model->tables().size(); ++i) {
        if (model->tables()[i].name() == loaded.name()) model->TakeInitialValues(i, spec);
      }
    }
  }
}

absl::Status ImportRows(const StartOptions& options, const proto::JobCut& source,
                        const ModelInstance& model, ParameterClient* client,
                        proto::JobCut::HandOver* plan) {
  RowImport import;
  for (const proto::JobCut::Server& server : source.servers()) {
    import.directories.push_back(server.directory());
  }
  for (proto::JobCut::Loaded& loaded : *plan->mutable_tables()) {
    for (size_t i = 0; i < model.tables().size(); ++i) {
      if (model.tables()[i].name() != loaded.name()) continue;
      import.tables = {{ static_cast<int>(i), loaded.source() }};
      PAGODA_ASSIGN_OR_RETURN(const std::vector<uint64_t> rows, client->ImportRows(import));
      loaded.set_rows(rows[0]);
    }
    absl::SleepFor(options.pause);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> LoadedValues(const proto::JobCut::HandOver& plan,
                                                const JobCut& source, ModelInstance* model) {
  PAGODA_ASSIGN_OR_RETURN(std::vector<float> values, model->DenseValues());
  const ParameterSet& parameters = model->parameters();
  for (const proto::JobCut::Loaded& loaded : plan.dense()) {
    const int from = FindDense(source.manifest.dense(), loaded.source());
    for (size_t i = 0; i < parameters.decls().size(); ++i) {
      const DenseDecl& decl = parameters.decls()[i];
      if (decl.name != loaded.name() || from < 0) continue;
      const auto begin = source.values.begin() + source.manifest.dense(from).offset();
      std::copy_n(begin, NumElements(decl.shape),
                  values.begin() + parameters.offset(DenseHandle{static_cast<int>(i)}));
    }
  }
  return values;
}

std::vector<std::string> DescribeHandOver(const StartOptions& options,
                                          const proto::JobCut::HandOver& plan) {
  std::vector<std::string> lines;
  lines.push_back(absl::StrCat(
      options.stage.empty() ? std::string("starting") : absl::StrCat("stage ", options.stage),
      ": weights of ", plan.stage().empty() ? plan.job() : absl::StrCat("stage ", plan.stage()),
      " at step ", plan.step(), ", ", plan.directory()));
  std::vector<std::string> loaded;
  for (const proto::JobCut::Loaded& table : plan.tables()) {
    loaded.push_back(absl::StrCat("table ", LoadedText(table), " (", table.rows(), " rows)"));
  }
  for (const proto::JobCut::Loaded& dense : plan.dense()) loaded.push_back(LoadedText(dense));
  AddNote("loaded: ", loaded, &lines);
  AddNote("fresh, not in what was loaded: ", plan.fresh(), &lines);
  AddNote("of the cut, not loaded: ", plan.unexpected(), &lines);
  return lines;
}

std::string DescribeFrozen(const ModelInstance& model) {
  std::vector<std::string> names;
  for (size_t i = 0; i < model.tables().size(); ++i) {
    if (model.frozen(i)) names.push_back(absl::StrCat("table ", model.tables()[i].name()));
  }
  const ParameterSet& parameters = model.parameters();
  for (size_t i = 0; i < parameters.decls().size(); ++i) {
    if (parameters.frozen(DenseHandle{static_cast<int>(i)})) {
      names.push_back(parameters.decls()[i].name);
    }
  }
  return absl::StrJoin(names, ", ");
}

}  // namespace pagoda

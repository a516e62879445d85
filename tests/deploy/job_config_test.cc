#include "deploy/job_config.h"

#include <catch2/catch.hpp>

#include <filesystem>

using namespace pagoda;

namespace {

constexpr const char* kJob = R"([job]
name = "adult"
seed = 5

[data]
files = "data/train.csv"
columns = ["age", "sex", "job", "income"]
header = false
missing = "?"
shuffle_rows = 1000
split = [0.0, 0.9]

[data.valid]
split = [0.9, 1.0]

[data.test]
files = ["/abs/test.csv"]
label_positive = ">50K."

[schema]
label = "income"
label_positive = ">50K"
group = "job"

[features]
age = { kind = "numeric", mean = 38.5, stddev = 13, log = true }
sex = "categorical"
job = { kind = "categorical", separator = "|", pooling = "mean", table = "jobs" }

[model]
name = "dnn"

[sparse]
optimizer = "rowwise_adagrad"
learning_rate = 0.05
init_stddev = 0.125

[table.jobs]
learning_rate = 0.25
frozen = true

[dense]
optimizer = "adamw"
learning_rate = 0.002
clip_norm = 10

[schedule]
kind = "cosine"
total_steps = 500

[train]
mode = "async"
batch_size = 128
epochs = 3
dtype = "bf16"

[evaluation]
metric = "gauc"
patience = 2

[server]
durability = "none"
memory_mb = 64

[launch]
servers = 2
workers = 3
)";

absl::StatusOr<JobConfig> Parse(const std::string& text,
                                const std::vector<std::string>& assignments = {}) {
  PAGODA_ASSIGN_OR_RETURN(JobDocument document, ParseJobText("/jobs/job.toml", text));
  for (const std::string& assignment : assignments) {
    PAGODA_RETURN_IF_ERROR(ApplyOverride(assignment, document));
  }
  return ParseJob(std::move(document));
}

JobConfig Good(const std::string& text, const std::vector<std::string>& assignments = {}) {
  absl::StatusOr<JobConfig> config = Parse(text, assignments);
  INFO(config.status());
  REQUIRE(config.ok());
  return *std::move(config);
}

std::string ErrorOf(const std::vector<std::string>& assignments) {
  const absl::StatusOr<JobConfig> config = Parse(kJob, assignments);
  REQUIRE_FALSE(config.ok());
  CHECK(config.status().code() == absl::StatusCode::kInvalidArgument);
  return std::string(config.status().message());
}

// kJob with the first `from` replaced by `to`.
std::string ErrorAfter(const std::string& from, const std::string& to) {
  std::string text = kJob;
  REQUIRE(text.find(from) != std::string::npos);
  text.replace(text.find(from), from.size(), to);
  const absl::StatusOr<JobConfig> config = Parse(text);
  REQUIRE_FALSE(config.ok());
  return std::string(config.status().message());
}

}  // namespace

TEST_CASE("a job file fills the options of every part") {
  const JobConfig config = Good(kJob);
  const TrainerOptions& trainer = config.trainer;
  CHECK(trainer.job == "adult");
  CHECK(trainer.seed == 5);
  CHECK(trainer.model == "dnn");
  CHECK(trainer.mode == "async");
  CHECK(trainer.batch_size == 128);
  CHECK(trainer.compute_dtype == DType::kBF16);
  CHECK(trainer.dense.args.kind == DenseOptimizerKind::kAdamW);
  CHECK(trainer.dense.args.learning_rate == 0.002f);
  CHECK(trainer.dense.clip_norm == 10.0);
  CHECK(trainer.schedule.kind == "cosine");
  CHECK(trainer.schedule.total_steps == 500);
  CHECK(trainer.evaluation.metric == "gauc");
  CHECK(trainer.evaluation.patience == 2);
  REQUIRE(trainer.stages.size() == 1);
  CHECK(trainer.stages[0].epochs == 3);
  CHECK(config.server.durability == "none");
  CHECK(config.server.memory_bytes == int64_t{64} << 20);
  CHECK(config.launch.servers == 2);
  CHECK(config.launch.workers == 3);
}

TEST_CASE("schema and features") {
  const FeatureSchema schema = Good(kJob).trainer.schema;
  CHECK(schema.label == "income");
  CHECK(schema.label_positive == ">50K");
  CHECK_FALSE(schema.label_has_threshold);
  CHECK(schema.group == "job");
  REQUIRE(schema.features.size() == 3);
  CHECK(schema.features[0].name == "age");
  CHECK(schema.features[0].kind == FeatureKind::kNumeric);
  CHECK(schema.features[0].transform.log);
  CHECK(schema.features[0].transform.mean == 38.5);
  CHECK(schema.features[0].transform.stddev == 13.0);
  CHECK(schema.features[1].kind == FeatureKind::kCategorical);
  CHECK(schema.features[2].separator == "|");
  CHECK(schema.features[2].pooling == Pooling::kMean);
  CHECK(schema.features[2].table_name() == "jobs");
}

TEST_CASE("the model says whether a label may be 2") {
  const JobConfig dnn = Good(kJob);
  CHECK_FALSE(dnn.trainer.schema.label_may_lack);
  CHECK_FALSE(dnn.test->schema.label_may_lack);
  const JobConfig gpsd = Good(R"([job]
name = "shop"
[data]
files = "train.csv"
[data.test]
files = "test.csv"
[schema]
label = "click"
[features]
item = "id"
history = { kind = "id", table = "item", separator = "|", last = 5 }
[model]
name = "gpsd"
task = "rank"
embedding_dim = 8
)");
  CHECK(gpsd.trainer.schema.label_may_lack);
  CHECK(gpsd.test->schema.label_may_lack);
}

TEST_CASE("rows: [sparse] for all, [table.NAME] where one differs") {
  const SparseOptions sparse = Good(kJob).trainer.sparse;
  CHECK(sparse.optimizer.kind() == "rowwise_adagrad");
  CHECK(sparse.optimizer.learning_rate() == 0.05f);
  CHECK(sparse.optimizer.epsilon() == 1e-8f);
  CHECK(sparse.optimizer.momentum() == 0.9f);
  CHECK(sparse.optimizer.decay_steps() == 100000);
  CHECK_FALSE(sparse.optimizer.exact());
  CHECK(sparse.init_stddev == 0.125f);
  REQUIRE(sparse.overrides.size() == 1);
  CHECK(sparse.overrides[0].table == "jobs");
  CHECK(sparse.overrides[0].optimizer.kind() == "rowwise_adagrad");
  CHECK(sparse.overrides[0].optimizer.learning_rate() == 0.25f);
  CHECK(sparse.overrides[0].frozen);
}

TEST_CASE("data sets inherit from [data], but not its split and shuffle") {
  const JobConfig config = Good(kJob);
  const DataOptions& train = config.trainer.stages[0].data;
  CHECK(train.files == std::vector<std::string>{"/jobs/data/train.csv"});
  CHECK(train.seed == 5);
  CHECK(train.shuffle_rows == 1000);
  CHECK(train.split_begin == 0.0);
  CHECK(train.split_end == 0.9);
  const DataOptions& valid = config.trainer.evaluation.data;
  CHECK(valid.files == train.files);
  CHECK(valid.columns == train.columns);
  CHECK(valid.missing == "?");
  CHECK(valid.shuffle_rows == 0);
  CHECK(valid.split_begin == 0.9);
  CHECK(valid.split_end == 1.0);
  REQUIRE(config.test.has_value());
  CHECK(config.test->data.files == std::vector<std::string>{"/abs/test.csv"});
  CHECK(config.test->data.split_begin == 0.0);
  CHECK(config.test->data.split_end == 1.0);
  CHECK_FALSE(config.test->data.header);
  CHECK(config.test->schema.label_positive == ">50K.");
  CHECK(config.test->schema.label == "income");
  CHECK(config.trainer.evaluation.items.files.empty());
}

TEST_CASE("the output directory is below the current one, unless it is given") {
  const std::string here = std::filesystem::current_path().string();
  CHECK(Good(kJob).trainer.output_dir == here + "/runs/adult");
  CHECK(Good(kJob, {"job.output=out/x"}).trainer.output_dir == here + "/out/x");
  CHECK(Good(kJob, {"job.output=/tmp/x"}).trainer.output_dir == "/tmp/x");
}

TEST_CASE("paths given by --set are relative to the current directory") {
  const std::string here = std::filesystem::current_path().string();
  const JobConfig config = Good(kJob, {"data.files=mine.csv"});
  CHECK(config.trainer.stages[0].data.files == std::vector<std::string>{here + "/mine.csv"});
  CHECK(config.trainer.evaluation.data.files == std::vector<std::string>{here + "/mine.csv"});
}

TEST_CASE("the effective text is the same job, from anywhere") {
  const JobConfig config =
      Good(kJob, {"train.batch_size=77", "data.files=mine.csv", "model.hidden=[5]"});
  const absl::StatusOr<JobDocument> document =
      ParseJobText("/elsewhere/job.toml", config.effective_text);
  REQUIRE(document.ok());
  const absl::StatusOr<JobConfig> again = ParseJob(*document);
  INFO(again.status());
  REQUIRE(again.ok());
  CHECK(again->effective_text == config.effective_text);
  CHECK(again->trainer.batch_size == 77);
  CHECK(again->trainer.stages[0].data.files == config.trainer.stages[0].data.files);
  CHECK(again->trainer.model_options.Get<std::vector<int64_t>>("hidden") ==
        std::vector<int64_t>{5});
  REQUIRE(again->trainer.schema.features.size() == 3);
  CHECK(again->trainer.schema.features[0].name == "age");
}

TEST_CASE("mistakes are named with their line") {
  CHECK(ErrorAfter("batch_size = 128", "batchsize = 128") ==
        "/jobs/job.toml:53: unknown key 'batchsize' in [train]; did you mean 'batch_size'?");
  CHECK(ErrorAfter("[evaluation]", "[evaluate]") ==
        "/jobs/job.toml:57: unknown section [evaluate]; did you mean [evaluation]?");
  CHECK(ErrorAfter("[data.valid]", "[data.validation]").find("unknown section") !=
        std::string::npos);
  CHECK(ErrorAfter("epochs = 3", "epochs = \"3\"") ==
        "/jobs/job.toml:54: train.epochs: expected integer, found text");
  CHECK(ErrorAfter("epochs = 3", "epochs = 0").find("54: train.epochs: 0 is out of range") !=
        std::string::npos);
  CHECK(ErrorAfter("name = \"dnn\"", "name = \"dnnn\"").find("did you mean \"dnn\"") !=
        std::string::npos);
  CHECK(ErrorAfter("name = \"dnn\"", "name = \"dnn\"\nhiden = [1]")
            .find("unknown key 'hiden' in [model]; did you mean 'hidden'?") != std::string::npos);
  CHECK(ErrorAfter("mean = 38.5", "meen = 38.5").find("unknown key 'meen' in [features.age]") !=
        std::string::npos);
  CHECK(ErrorAfter("[table.jobs]", "[table.job]").find("no table 'job'") != std::string::npos);
  CHECK(ErrorAfter("files = \"data/train.csv\"\n", "").find("[data] needs the key 'files'") !=
        std::string::npos);
  CHECK(ErrorAfter("name = \"adult\"\n", "").find("[job] needs the key 'name'") !=
        std::string::npos);
  CHECK(ErrorAfter("[job]", "top = 1\n[job]").find("'top' stands before the first [section]") !=
        std::string::npos);
}

TEST_CASE("values that do not go together are named") {
  CHECK(ErrorOf({"data.split=[0.9, 0.1]"}).find("data.split") != std::string::npos);
  CHECK(ErrorOf({"data.split=[0.5]"}).find("data.split") != std::string::npos);
  CHECK(ErrorOf({"schema.label_threshold=4"}).find("label_threshold and label_positive") !=
        std::string::npos);
  CHECK(ErrorOf({"schema.group=\"\""}).find("gauc needs schema.group") != std::string::npos);
  CHECK(ErrorOf({"job.name=a/b"}).find("job.name") != std::string::npos);
  CHECK(ErrorOf({"sparse.exact=true"}).find("exact = true needs train.mode = \"sync\"") !=
        std::string::npos);
  CHECK(ErrorOf({"features.x.kind=bucketised"}).find("boundaries") != std::string::npos);
  CHECK(ErrorOf({"features.x.kind=bucketised", "features.x.boundaries=[2, 1]"})
            .find("do not ascend") != std::string::npos);
  CHECK(ErrorOf({"train.frozen_tables=[\"nope\"]"}).find("no table 'nope'") != std::string::npos);
  CHECK(ErrorOf({"features.x=7"}).find("features.x.kind: expected text, found integer") !=
        std::string::npos);
  CHECK(ErrorAfter("sex = \"categorical\"", "sex = 7").find("must be a table") !=
        std::string::npos);
}

TEST_CASE("a threshold of zero differs from none") {
  CHECK_FALSE(Good(kJob).trainer.schema.label_has_threshold);
  const JobConfig config = Good(kJob, {"schema.label_positive=\"\"", "schema.label_threshold=0"});
  CHECK(config.trainer.schema.label_has_threshold);
  CHECK(config.trainer.schema.label_threshold == 0.0);
}

TEST_CASE("joins, targets and metrics fill schema and evaluation") {
  const JobConfig config =
      Good(kJob, {"schema.targets=[\"bought\", \"portal\"]", "join.user.files=[\"/abs/users.csv\"]",
                  "join.user.key=id", "join.user.memory_mb=3", "join.user.allow_missing=true",
                  "features.past.kind=id", "features.past.join=user", "features.past.optional=true",
                  "metrics.pairs=[\"cvr:bought\", \"score:label\"]", "metrics.slices=[\"sex\"]",
                  "metrics.top_ks=[5, 20]", "evaluation.metric=auc(cvr:bought)",
                  "evaluation.seen_features=[\"past\"]"});
  const FeatureSchema& schema = config.trainer.schema;
  CHECK(schema.targets == std::vector<std::string>{"bought", "portal"});
  CHECK(schema.TargetIndex("portal") == 1);
  CHECK(schema.TargetIndex("income") == -1);
  REQUIRE(schema.joins.size() == 1);
  CHECK(schema.joins[0].name == "user");
  CHECK(schema.joins[0].files == std::vector<std::string>{"/abs/users.csv"});
  CHECK(schema.joins[0].column_name() == "user");
  CHECK(schema.joins[0].key_name() == "id");
  CHECK(schema.joins[0].allow_missing);
  CHECK(schema.joins[0].memory_bytes_max == 3 << 20);
  CHECK(schema.features.back().join == "user");
  CHECK(schema.features.back().optional);
  CHECK(schema.slices == std::vector<std::string>{"sex"});
  CHECK(config.test->schema.slices == schema.slices);
  CHECK(config.trainer.evaluation.pairs == std::vector<std::string>{"cvr:bought", "score:label"});
  CHECK(config.trainer.evaluation.top_ks == std::vector<int64_t>{5, 20});
  CHECK(config.trainer.evaluation.seen_features == std::vector<std::string>{"past"});
  CHECK(config.trainer.evaluation.metric == "auc(cvr:bought)");
}

TEST_CASE("side files stand beside the job file") {
  std::string text = kJob;
  text += "\n[join.job]\nfiles = [\"side/*.csv\"]\n";
  CHECK(Good(text).trainer.schema.joins[0].files == std::vector<std::string>{"/jobs/side/*.csv"});
}

TEST_CASE("mistakes in joins and metrics are named") {
  const auto has = [](const std::string& text, const std::string& words) {
    INFO(text);
    return text.find(words) != std::string::npos;
  };
  CHECK(has(ErrorOf({"features.sex.join=users"}), "names join 'users'; the joins: none"));
  CHECK(has(ErrorOf({"join.users.key=id"}), "[join.users] needs the key 'files'"));
  CHECK(has(ErrorOf({"join.files=[\"a\"]"}), "must be a table"));
  CHECK(has(ErrorOf({"metrics.pairs=[\"cvr\"]"}), "OUTPUT:TARGET"));
  CHECK(has(ErrorOf({"schema.targets=[\"bought\"]", "metrics.pairs=[\"cvr:bougt\"]"}),
            "did you mean 'bought'"));
  CHECK(has(ErrorOf({"evaluation.metric=auk"}), "did you mean 'auc'?"));
  CHECK(has(ErrorOf({"evaluation.metric=auc(cvr:bought)"}), "not among what [metrics] asks for"));
  CHECK(has(ErrorOf({"evaluation.metric=recall@7", "metrics.top_ks=[5]"}),
            "not among what [metrics] asks for"));
}

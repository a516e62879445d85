#include "deploy/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>

#include "deploy/commands.h"

namespace pagoda {
namespace {

// What the chosen subcommand will do; set while parsing.
using Command = std::function<absl::StatusOr<int>()>;

// CLI11 fills these; they live as long as the process.
struct Arguments {
  TrainArguments train;
  LaunchArguments launch;
  ServerArguments server;
  WorkerArguments worker;
  EvaluateArguments evaluate;
  PredictArguments predict;
  CheckpointVerifyArguments verify;
  TableStatArguments stat;
  TableGetArguments get;
  CheckpointDeltaArguments delta;
  TableScanArguments scan;
  TableTopArguments top;
  TableLoadArguments load;
  TableEvictArguments evict;
  PlanArguments plan;
  ClaimArguments claim;
  SynthArguments synth;
  std::string directory, cut, other_cut, model;
  bool markdown = false;
};

void AddSet(CLI::App* app, std::vector<std::string>* assignments) {
  app->add_option("--set", *assignments,
                  "Overrides a key of the job file: --set train.batch_size=512")
      ->type_name("SECTION.KEY=VALUE")
      ->take_all()
      ->allow_extra_args(false);
}

void AddJob(CLI::App* app, JobArguments* job, bool required) {
  CLI::Option* path = app->add_option("job", job->job_path, "The job file (docs/job_file.md)");
  path->type_name("JOB.TOML");
  if (required) path->required();
  AddSet(app, &job->assignments);
}

void AddStage(CLI::App* app, JobArguments* job, bool may_run_several) {
  app->add_option("--stage", job->stage, "One stage of a job file that has stages")
      ->type_name("NAME");
  if (!may_run_several) return;
  app->add_option("--from-stage", job->from_stage, "That stage and those below it")
      ->type_name("NAME");
}

void AddStart(CLI::App* app, StartArguments* start, bool may_overwrite) {
  app->add_option("--resume", start->resume_cut,
                  "Goes on from CUT; without CUT, from the newest cut of the job's output")
      ->type_name("CUT")
      ->expected(0, 1)
      ->trigger_on_parse();
  app->add_option("--keep-newer", start->keep_newer,
                  "With --resume: rows newer than the cut are set aside under this name")
      ->type_name("NAME");
  if (may_overwrite) {
    app->add_flag("--overwrite", start->overwrite,
                  "Deletes an earlier run in the job's output directory");
  }
  app->add_option("--trace", start->trace_path,
                  "Writes one line a step: the step and its loss as a hexadecimal number")
      ->type_name("FILE");
  app->add_option("--pause-in-hand-over", start->hand_over_pause_s,
                  "For tests: waits so many seconds after each table's rows")
      ->group("");
}

// CLI11 gives an option without a value an empty string; that it was there counts.
void NoteResume(CLI::App* app, StartArguments* start) {
  start->resume = app->count("--resume") > 0;
}

void DefineTrain(CLI::App& root, Arguments& all, Command& command) {
  CLI::App* app = root.add_subcommand("train", "Trains a job in one process");
  AddJob(app, &all.train.job, true);
  AddStage(app, &all.train.job, true);
  AddStart(app, &all.train.start, true);
  app->add_option("--servers", all.train.servers, "Embedded servers that share the rows")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app->callback([&all, &command, app] {
    NoteResume(app, &all.train.start);
    command = [&all] { return RunTrain(all.train); };
  });
}

void DefineLaunch(CLI::App& root, Arguments& all, Command& command) {
  CLI::App* app =
      root.add_subcommand("launch", "Trains a job as server and worker processes on this machine");
  AddJob(app, &all.launch.job, true);
  AddStage(app, &all.launch.job, true);
  AddStart(app, &all.launch.start, true);
  app->add_option("--servers", all.launch.servers, "Server processes; else [launch] servers")
      ->check(CLI::Range(1, 1024));
  app->add_option("--workers", all.launch.workers, "Worker processes; else [launch] workers")
      ->check(CLI::Range(1, 1024));
  app->callback([&all, &command, app] {
    NoteResume(app, &all.launch.start);
    command = [&all] { return RunLaunch(all.launch); };
  });
}

void DefineServer(CLI::App& root, Arguments& all, Command& command) {
  CLI::App* app = root.add_subcommand("server", "Runs one parameter server");
  AddJob(app, &all.server.job, false);
  AddStage(app, &all.server.job, false);
  app->add_option("--listen", all.server.listen, "Address to listen on; port 0 takes a free one")
      ->type_name("HOST:PORT")
      ->required();
  app->add_option("--data", all.server.data_dir, "Directory of its rows")
      ->type_name("DIR")
      ->required();
  app->add_option("--address-file", all.server.address_file,
                  "Writes the address listened on there, once it serves")
      ->type_name("FILE");
  app->add_flag("--insecure-plaintext", all.server.insecure_plaintext,
                "Allows an address off this machine without encryption: trusted networks only");
  app->add_flag("--keep-serving", all.server.keep_serving, "Goes on when a job has finished");
  app->add_option("--pretend-version", all.server.pretend_version,
                  "For tests: claims another version")
      ->group("");
  app->callback([&] { command = [&all] { return RunServer(all.server); }; });
}

void DefineWorker(CLI::App& root, Arguments& all, Command& command) {
  CLI::App* app = root.add_subcommand("worker", "Runs one worker against parameter servers");
  AddJob(app, &all.worker.job, true);
  AddStage(app, &all.worker.job, false);
  AddStart(app, &all.worker.start, false);
  app->add_option("--servers", all.worker.servers,
                  "Every server; the same list in the same order for every worker")
      ->type_name("HOST:PORT,...")
      ->delimiter(',')
      ->required();
  app->add_option("--rank", all.worker.rank, "This worker's number, from 0")
      ->check(CLI::NonNegativeNumber)
      ->required();
  app->add_option("--workers", all.worker.num_workers, "How many workers the job has")
      ->check(CLI::PositiveNumber)
      ->required();
  app->add_option("--listen-host", all.worker.listen_host,
                  "This machine's address as the other workers reach it; else it is found")
      ->type_name("HOST");
  app->add_flag("--insecure-plaintext", all.worker.insecure_plaintext,
                "Allows servers off this machine without encryption: trusted networks only");
  app->add_flag("--launched", all.worker.launched, "Started by `pagoda launch`")->group("");
  app->callback([&all, &command, app] {
    NoteResume(app, &all.worker.start);
    command = [&all] { return RunWorker(all.worker); };
  });
}

constexpr const char* kInputHelp =
    "test, valid or train for the job's own data, or a file in the form of its test data";

void DefineReading(CLI::App& root, Arguments& all, Command& command) {
  CLI::App* evaluate = root.add_subcommand("evaluate", "Measures a cut on labelled data");
  evaluate->add_option("--cut", all.evaluate.cut, "Directory of the cut")->required();
  evaluate->add_option("--input", all.evaluate.input, kInputHelp)->required();
  AddSet(evaluate, &all.evaluate.assignments);
  evaluate->callback([&] { command = [&all] { return RunEvaluate(all.evaluate); }; });

  CLI::App* predict = root.add_subcommand("predict", "Scores each row of a file with a cut");
  predict->add_option("--cut", all.predict.cut, "Directory of the cut")->required();
  predict->add_option("--input", all.predict.input, kInputHelp)->required();
  predict
      ->add_option("--output", all.predict.output,
                   "CSV file to write: one row per input row, in order")
      ->required();
  predict->add_flag("--labels", all.predict.labels,
                    "Also reads targets, for outputs that depend on them, and writes label, and "
                    "weight and group where the job has them");
  AddSet(predict, &all.predict.assignments);
  predict->callback([&] { command = [&all] { return RunPredict(all.predict); }; });
}

void DefineCheckpoint(CLI::App& root, Arguments& all, Command& command) {
  CLI::App* app = root.add_subcommand("checkpoint", "Lists, verifies and compares cuts");
  app->require_subcommand(1);
  CLI::App* list = app->add_subcommand("list", "The cuts in a job's output directory");
  list->add_option("output", all.directory, "The job's output directory")->required();
  list->callback([&] { command = [&all] { return RunCheckpointList(all.directory); }; });

  CLI::App* verify = app->add_subcommand("verify", "Checks every checksum of a cut or a delta");
  verify->add_option("cut", all.verify.cut, "A job's cut, a server's cut, or a delta")->required();
  verify->add_flag("--hash", all.verify.hash,
                   "Also prints hashes of dense parameters and rows, the same for any number of "
                   "servers");
  verify->callback([&] { command = [&all] { return RunCheckpointVerify(all.verify); }; });

  CLI::App* diff = app->add_subcommand("diff", "The largest differences between two cuts");
  diff->add_option("cut", all.cut, "Directory of a cut")->required();
  diff->add_option("other", all.other_cut, "Directory of the cut to compare with")->required();
  diff->callback([&] { command = [&all] { return RunCheckpointDiff(all.cut, all.other_cut); }; });

  CLI::App* delta = app->add_subcommand(
      "delta", "Exports the rows that changed between two cuts; called again, it goes on");
  delta->add_option("cut", all.delta.cut, "The newer cut: a job's, or a server's")->required();
  delta->add_option("--since", all.delta.since, "The older cut of the same job")
      ->type_name("CUT")
      ->required();
  delta->add_option("--output", all.delta.output, "Directory of the delta")
      ->type_name("DIR")
      ->required();
  delta->add_option("--file-mb", all.delta.file_mb, "MiB in each file, about")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  delta->callback([&] { command = [&all] { return RunCheckpointDelta(all.delta); }; });
}

constexpr const char* kPathHelp = "A cut, or a stopped server's data directory";

// `pagoda table`, the commands about many rows.
void DefineTableRows(CLI::App* app, Arguments& all, Command& command) {
  CLI::App* top = app->add_subcommand("top", "The rows with the largest norm, or the newest");
  top->add_option("path", all.top.path, kPathHelp)->required();
  top->add_option("--table", all.top.table, "Only this table; else all");
  top->add_option("--by", all.top.by, "norm: L2 norm of the weights; step: of the last update")
      ->check(CLI::IsMember({"norm", "step"}))
      ->capture_default_str();
  top->add_option("--count", all.top.count, "How many rows")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  top->callback([&] { command = [&all] { return RunTableTop(all.top); }; });

  CLI::App* scan = app->add_subcommand("scan", "All rows as lines, in the order they are stored");
  scan->add_option("path", all.scan.path, kPathHelp)->required();
  CLI::Option* table = scan->add_option("--table", all.scan.table, "Only this table; else all");
  scan->add_option("--from-id", all.scan.from_id,
                   "Starts at the place of this id, stored or not: rows are ordered by hash")
      ->needs(table);
  scan->add_option("--limit", all.scan.limit, "Stops after so many rows; 0: none")
      ->check(CLI::NonNegativeNumber);
  scan->add_flag("--csv", all.scan.csv, "Commas between columns instead of tabs");
  scan->callback([&] { command = [&all] { return RunTableScan(all.scan); }; });

  CLI::App* compact =
      app->add_subcommand("compact", "Drops older versions of rows from a stopped server's disk");
  compact->add_option("path", all.directory, "A stopped server's data directory")->required();
  compact->callback([&] { command = [&all] { return RunTableCompact(all.directory); }; });
}

void DefineTableLoad(CLI::App* app, Arguments& all, Command& command) {
  CLI::App* load =
      app->add_subcommand("load", "Stores rows from .npy files in a table of stopped servers");
  load->add_option("table", all.load.table, "Name of the table")->required();
  load->add_option("paths", all.load.paths,
                   "The data directories of all of the job's servers, in their order")
      ->type_name("DIR")
      ->required();
  load->add_option("--ids", all.load.ids, "uint64 or int64 [n]")->type_name("NPY")->required();
  load->add_option("--weights", all.load.weights, "float32 [n, dim]")->type_name("NPY")->required();
  load->add_option("--slots", all.load.slots, "float32 [n, slots]; else those of a new row")
      ->type_name("NPY");
  load->add_option("--step", all.load.step, "Last step of the rows")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  load->add_option("--memory-mb", all.load.memory_mb, "MiB for loading")
      ->check(CLI::Range(16, 1 << 20))
      ->capture_default_str();
  load->callback([&] { command = [&all] { return RunTableLoad(all.load); }; });
}

void DefineTableEvict(CLI::App* app, Arguments& all, Command& command) {
  CLI::App* evict = app->add_subcommand(
      "evict",
      "Removes rows from a table of a stopped server: they read as their initial values again");
  TableEvictArguments& to = all.evict;
  evict->add_option("path", to.path, "A stopped server's data directory")->required();
  evict->add_option("table", to.table, "Name of the table")->required();
  evict->add_option("--unused-steps", to.unused_steps, "Rows that no step touched for longer")
      ->check(CLI::PositiveNumber);
  evict->add_option("--updates-min", to.updates_min, "Rows that fewer steps touched")
      ->check(CLI::PositiveNumber);
  evict->add_option("--norm-min", to.norm_min, "Rows whose weights have an L2 norm below")
      ->check(CLI::PositiveNumber);
  evict
      ->add_option("--score-min", to.score_min,
                   "Rows whose score is below: the steps that touched it, halved for every "
                   "--score-half-life steps since")
      ->check(CLI::PositiveNumber);
  evict->add_option("--score-half-life", to.score_half_life, "Steps in which a score halves")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  evict->add_option("--rows-max", to.rows_max, "Then, until at most so many rows are left:")
      ->check(CLI::PositiveNumber);
  evict->add_option("--order", to.order, "... those that are first in this order")
      ->check(CLI::IsMember({"oldest", "least_frequent", "lowest_score", "smallest"}))
      ->capture_default_str();
  evict
      ->add_option("--now-step", to.now_step,
                   "Step that ages are counted from; else the newest of the table")
      ->check(CLI::PositiveNumber);
  evict->footer("Without a criterion: what the table's own settings say (evict_ keys of the job).");
  evict->callback([&] { command = [&all] { return RunTableEvict(all.evict); }; });
}

void DefineTable(CLI::App& root, Arguments& all, Command& command) {
  CLI::App* app = root.add_subcommand("table", "Looks into tables of rows");
  app->require_subcommand(1);
  CLI::App* stat = app->add_subcommand("stat", "Tables with their rows, sizes and settings");
  stat->add_option("path", all.stat.path, kPathHelp)->required();
  stat->add_flag("--hash", all.stat.hash, "Also prints a hash of all rows");
  stat->callback([&] { command = [&all] { return RunTableStat(all.stat); }; });

  CLI::App* get = app->add_subcommand("get", "One row: weights and optimizer slots");
  get->add_option("path", all.get.path, kPathHelp)->required();
  get->add_option("table", all.get.table, "Name of the table")->required();
  CLI::Option* id = get->add_option("id", all.get.id, "The row's id, in decimal");
  CLI::Option* text =
      get->add_option("--text", all.get.text, "The row of this text of a categorical feature");
  get->add_option("--feature", all.get.feature, "With --text: the feature; else named as the table")
      ->needs(text);
  id->excludes(text);
  get->callback([&] { command = [&all] { return RunTableGet(all.get); }; });
  DefineTableRows(app, all, command);
  DefineTableLoad(app, all, command);
  DefineTableEvict(app, all, command);
}

void DefinePlan(CLI::App& root, Arguments& all, Command& command) {
  CLI::App* app = root.add_subcommand(
      "plan", "Memory, disk, log, network and speed that a job will need, from a sample");
  AddJob(app, &all.plan.job, true);
  AddStage(app, &all.plan.job, false);
  app->add_option("--ids", all.plan.ids,
                  "Ids that tables will hold: one number for all, or TABLE=NUMBER; else those of "
                  "the sample")
      ->type_name("N|TABLE=N")
      ->take_all()
      ->allow_extra_args(false);
  app->add_option("--sample-batches", all.plan.sample_batches,
                  "Batches read to count ids and the unique rows of a step")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app->add_option("--steps-per-second", all.plan.steps_per_second,
                  "Expected speed, instead of measuring it")
      ->check(CLI::PositiveNumber);
  app->add_option("--servers", all.plan.servers, "Parameter servers; else [launch] servers")
      ->check(CLI::Range(1, 1024));
  app->add_option("--workers", all.plan.workers, "Workers; else [launch] workers")
      ->check(CLI::Range(1, 1024));
  app->add_flag("--networked", all.plan.networked,
                "Servers are processes of their own, also with one worker");
  app->callback([&] { command = [&all] { return RunPlan(all.plan); }; });
}

void DefineClaim(CLI::App& root, Arguments& all, Command& command) {
  CLI::App* app = root.add_subcommand(
      "claim", "Tests on generated worlds whether a system does what its paper says");
  app->add_option("name", all.claim.name, "A system, or a claim file (docs/claims.md)");
  app->add_option("--seeds", all.claim.seeds, "Seeds; else as the claim says")
      ->check(CLI::Range(1, 100));
  app->add_flag("--fast", all.claim.fast, "Small worlds and two seeds");
  app->add_option("--output", all.claim.output, "Keeps runs there; else runs/claims/NAME")
      ->type_name("DIR");
  app->add_option("--pilot", all.claim.pilot, "One throw-away seed, for calibration: no verdict")
      ->check(CLI::NonNegativeNumber)
      ->type_name("SEED");
  app->add_option("--claims", all.claim.directory, "Where NAME/claim.toml is")
      ->type_name("DIR")
      ->capture_default_str();
  app->add_flag("--list", all.claim.list, "Lists the claims");
  app->callback([&] { command = [&all] { return RunClaim(all.claim); }; });
}

void DefineSynth(CLI::App& root, Arguments& all, Command& command) {
  CLI::App* app = root.add_subcommand(
      "synth", "Writes a generated log with the truth beside it, to test claims about models");
  SynthArguments& to = all.synth;
  app->add_option("world", to.world, "Name of the world; see below")->required();
  app->add_option("--seed", to.seed, "Everything is drawn from it")->capture_default_str();
  app->add_option("--output", to.output, "Directory to write to; new, or empty")
      ->type_name("DIR")
      ->required();
  app->add_option("--set", to.knobs, "Sets a knob of the world: --set variant=null")
      ->type_name("KNOB=VALUE")
      ->take_all()
      ->allow_extra_args(false);
  app->add_option("--rows", to.rows, "Rows of train.csv, about; else as the knobs say")
      ->check(CLI::PositiveNumber);
  app->footer(SynthHelp());
  app->callback([&] { command = [&all] { return RunSynth(all.synth); }; });
}

void DefineDoctor(CLI::App& root, Command& command) {
  CLI::App* app =
      root.add_subcommand("doctor", "What this build and this machine have, and what is wrong");
  app->callback([&] { command = [] { return RunDoctor(); }; });
}

void DefineConfig(CLI::App& root, Arguments& all, Command& command) {
  CLI::App* app = root.add_subcommand("config", "Explains the job file");
  app->require_subcommand(1);
  CLI::App* explain =
      app->add_subcommand("explain", "Every key with its type, unit, default and meaning");
  explain->add_option("model", all.model, "Only this model's keys in [model]");
  explain->add_flag("--markdown", all.markdown, "As docs/job_file.md");
  explain->callback(
      [&] { command = [&all] { return RunConfigExplain(all.model, all.markdown); }; });

  CLI::App* version = root.add_subcommand("version", "Prints the version");
  version->callback([&] {
    command = []() -> absl::StatusOr<int> {
      std::puts(VersionText().c_str());
      return 0;
    };
  });
}

}  // namespace

int RunCommandLine(int argc, char** argv) {
  static Arguments all;
  for (JobArguments* job : {&all.train.job, &all.launch.job, &all.worker.job}) {
    if (argc > 0) job->program = argv[0];
  }
  Command command;
  CLI::App root("Pagoda trains recommendation models with tables larger than memory.", "pagoda");
  root.require_subcommand(1);
  root.set_version_flag("--version", [] { return VersionText(); });
  DefineTrain(root, all, command);
  DefineLaunch(root, all, command);
  DefineReading(root, all, command);
  DefineCheckpoint(root, all, command);
  DefineTable(root, all, command);
  DefinePlan(root, all, command);
  DefineClaim(root, all, command);
  DefineSynth(root, all, command);
  DefineDoctor(root, command);
  DefineConfig(root, all, command);
  DefineServer(root, all, command);
  DefineWorker(root, all, command);
  try {
    root.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Help and version come this way too, with exit code 0.
    return root.exit(error) == 0 ? 0 : 2;
  }
  const absl::StatusOr<int> code = command();
  if (code.ok()) return *code;
  std::fflush(stdout);
  std::fprintf(stderr, "pagoda: error: %s\n", std::string(code.status().message()).c_str());
  return 1;
}

}  // namespace pagoda

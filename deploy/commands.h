// The commands of the `pagoda` binary: what each takes from the command line, and
// what it does. Each prints its results on stdout and its progress as it goes.
//
// Returns: the process's exit code (0; 130 after Ctrl-C, when a cut was made), or an
// error whose message is the one line the user needs. Exit code 1 is an error,
// 2 a mistake on the command line.
//
// Threads: one command a process, from main's thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pagoda {

struct JobArguments {
  std::string job_path;
  std::vector<std::string> assignments;  // --set section.key=value
  std::string program = "pagoda";        // As it was called, for commands shown to the user.
  std::string stage;                     // Only this stage of the job file; empty: all.
  std::string from_stage;                // This one and those below it; empty: all.
};

// Where a training run starts from.
struct StartArguments {
  bool resume = false;
  std::string resume_cut;  // Directory; empty: the newest cut of the job's output.
  bool overwrite = false;  // Deletes an earlier run in the job's output directory.
  std::string keep_newer;  // Resume: newer rows are set aside under this name.
  // Each step's loss is written there, as "STEP LOSS" in hex; with several stages: to
  // "PATH.STAGE" for each.
  std::string trace_path;
  double hand_over_pause_s = 0;  // StartOptions::pause.
};

struct TrainArguments {
  JobArguments job;
  StartArguments start;
  int servers = 1;  // Embedded stores.
};
absl::StatusOr<int> RunTrain(const TrainArguments& arguments);

struct LaunchArguments {
  JobArguments job;
  StartArguments start;
  int servers = 0;         // 0: as [launch] says.
  int workers = 0;         // 0: as [launch] says.
  std::string executable;  // Of servers and workers; empty: this binary.
};
absl::StatusOr<int> RunLaunch(const LaunchArguments& arguments);

struct ServerArguments {
  JobArguments job;  // job_path may be empty: then only --set server.KEY=VALUE is read.
  std::string listen;
  std::string data_dir;
  std::string address_file;  // The address listened on is written there (port 0 gets a free one).
  bool insecure_plaintext = false;
  bool keep_serving = false;    // Go on when a job has finished.
  std::string pretend_version;  // For tests of the version check.
};
absl::StatusOr<int> RunServer(const ServerArguments& arguments);

struct WorkerArguments {
  JobArguments job;
  StartArguments start;
  std::vector<std::string> servers;  // HOST:PORT; the same list in the same order everywhere.
  int rank = 0;
  int num_workers = 1;
  std::string listen_host;  // Address that the other workers reach this one at; empty: found.
  bool insecure_plaintext = false;
  bool launched = false;  // By `pagoda launch`, which says how to resume.
};
absl::StatusOr<int> RunWorker(const WorkerArguments& arguments);

struct EvaluateArguments {
  std::string cut;
  std::string input;  // test | valid | train, or a file.
  std::vector<std::string> assignments;
};
absl::StatusOr<int> RunEvaluate(const EvaluateArguments& arguments);

struct PredictArguments {
  std::string cut;
  std::string input;  // test | valid | train, or a file.
  std::string output;
  bool labels = false;  // Also columns label, and weight and group where the job has them.
  std::vector<std::string> assignments;
};
absl::StatusOr<int> RunPredict(const PredictArguments& arguments);

absl::StatusOr<int> RunCheckpointList(const std::string& output_dir);
struct CheckpointVerifyArguments {
  std::string cut;
  bool hash = false;  // Also hashes that do not depend on the number of servers.
};
absl::StatusOr<int> RunCheckpointVerify(const CheckpointVerifyArguments& arguments);
// Largest differences between two cuts, by table and dense parameter.
absl::StatusOr<int> RunCheckpointDiff(const std::string& cut, const std::string& other);

// The rows that differ between two cuts, as files that a server of rows can follow.
struct CheckpointDeltaArguments {
  std::string cut;    // The newer state: a job's cut, or one server's.
  std::string since;  // The older one, of the same job.
  std::string output;
  int64_t file_mb = 64;  // MiB in each file, about.
};
absl::StatusOr<int> RunCheckpointDelta(const CheckpointDeltaArguments& arguments);

struct TableStatArguments {
  std::string path;   // A job's cut, a server's cut, or a stopped server's data directory.
  bool hash = false;  // Also the hash of all rows.
};
absl::StatusOr<int> RunTableStat(const TableStatArguments& arguments);
struct TableGetArguments {
  std::string path;
  std::string table;
  std::string id;       // Decimal; or empty, and:
  std::string text;     // The value of ...
  std::string feature;  // ... this feature; empty: the table's name.
};
absl::StatusOr<int> RunTableGet(const TableGetArguments& arguments);
// Rows as lines on stdout, in the order they are stored.
struct TableScanArguments {
  std::string path;
  std::string table;    // Empty: all tables.
  std::string from_id;  // Decimal: starts at the place of this id; needs `table`.
  int64_t limit = 0;    // Rows; 0: all.
  bool csv = false;     // Else tab-separated.
};
absl::StatusOr<int> RunTableScan(const TableScanArguments& arguments);
// The rows with the highest scores.
struct TableTopArguments {
  std::string path;
  std::string table;  // Empty: all tables.
  std::string by = "norm";
  int64_t count = 10;
};
absl::StatusOr<int> RunTableTop(const TableTopArguments& arguments);
absl::StatusOr<int> RunTableCompact(const std::string& path);
// Rows from .npy files (npy_rows.h) into a table.
struct TableLoadArguments {
  std::vector<std::string> paths;  // Data directories of all stopped servers, in their order.
  std::string table;
  std::string ids, weights;
  std::string slots;         // Empty: slots start as those of a new row.
  int64_t step = 0;          // Last step of the rows.
  int64_t memory_mb = 1024;  // Of the store while it loads.
};
absl::StatusOr<int> RunTableLoad(const TableLoadArguments& arguments);
// Evicts rows of a stopped server's table; embedding_store/eviction.h says which.
struct TableEvictArguments {
  std::string path;
  std::string table;
  // All 0: what the table's own policy says.
  int64_t unused_steps = 0;
  uint32_t updates_min = 0;
  float norm_min = 0.0f;
  double score_min = 0.0;
  int64_t rows_max = 0;
  int64_t score_half_life = 10000;
  std::string order = "oldest";
  int64_t now_step = 0;  // That ages are counted from; 0: the newest.
};
absl::StatusOr<int> RunTableEvict(const TableEvictArguments& arguments);

// What a job will need: memory, disk, log, network, speed.
struct PlanArguments {
  JobArguments job;
  std::vector<std::string> ids;  // "N" or "TABLE=N": ids a table will hold.
  int64_t sample_batches = 50;   // Read to count ids.
  double steps_per_second = 0;   // 0: measured.
  int servers = 0;               // 0: as [launch] says, as is the next.
  int workers = 0;
  bool networked = false;  // As `pagoda launch`, also with one worker.
};
absl::StatusOr<int> RunPlan(const PlanArguments& arguments);

// Whether a system does what its paper says (docs/claims.md).
struct ClaimArguments {
  std::string name;                      // Of a folder in `directory`, or a path to a .toml.
  std::string directory = "algorithms";  // Where NAME/claim.toml is.
  std::string output;                    // Empty: runs/claims/NAME.
  int64_t seeds = 0;                     // 0: as the claim says.
  int64_t pilot = -1;                    // One throw-away seed, without a verdict; -1: none.
  bool fast = false;
  bool list = false;
};
// Exit code 0 only for the verdict PASS; 1 FAIL, 3 an error (printed here), 4 a pilot,
// 130 after Ctrl-C.
absl::StatusOr<int> RunClaim(const ClaimArguments& arguments);

// What the build and the machine have: processor, memory, GPUs, and what is wrong. Exit
// code 0 also without a GPU.
absl::StatusOr<int> RunDoctor();

// Writes a generated world (docs/worlds.md).
struct SynthArguments {
  std::string world;
  uint64_t seed = 1;
  std::string output;              // Directory; must not exist, or be empty.
  std::vector<std::string> knobs;  // "knob=value"
  int64_t rows = 0;                // Of train.csv, about; 0: as the knobs say.
};
absl::StatusOr<int> RunSynth(const SynthArguments& arguments);
// All worlds and knobs, as `pagoda synth --help` shows them.
std::string SynthHelp();

absl::StatusOr<int> RunConfigExplain(const std::string& model, bool markdown);

// "pagoda 0.1.0 (1a2b3c4)"
std::string VersionText();

}  // namespace pagoda

// Kills a store at random moments and holds what it has after each restart against an
// oracle of what was acknowledged (writer_oracle.h):
//   crash_oracle DIRECTORY [--kills N] [--seed S] [--durability process|machine]
//                [--mutant NAME]
// `process`: a child pushes, flushes and cuts at full speed and is killed with -9, every
// third time right after its start, while it recovers. `machine`: the same in this
// process, on a file system that loses what was not synced when the power goes.
// Afterwards each writer sends again what was not acknowledged, as it was.
//
// Works in a folder of its own inside DIRECTORY, which it leaves there for a look when a
// check failed without a mutant. Exits with 0 when every check passed, with 1 when one
// did not. A mutant breaks one promise, and the checks must then not pass:
//   no_log      the log is off (durability none)
//   no_guard    replay does not look whether a row has a push already
//   early_ack   a push is acknowledged before it is sent to the log
//   no_window   a push sent again is applied again
//   no_sync     (machine) acknowledged without waiting for the disk
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/shared_progress.h"
#include "tests/faults/writer_oracle.h"

namespace pagoda {
namespace {

namespace stdfs = std::filesystem;

struct Plan {
  std::string directory;
  int kills = 200;
  uint64_t seed = 0;
  bool machine = false;
  bool child = false;
  std::string mutant;
};

// What writers have had acknowledged; shared with the child through a file.
struct Progress {
  std::array<std::atomic<uint64_t>, kWriters> acknowledged;
  std::atomic<uint64_t> cuts;  // Made so far.

  RunOracle::Numbers Numbers() const {
    RunOracle::Numbers numbers;
    for (uint32_t w = 0; w < kWriters; ++w) numbers[w] = acknowledged[w].load();
    return numbers;
  }
};

// Every writer has at most one push on the way.
RunOracle::Numbers PlusOne(RunOracle::Numbers numbers) {
  for (uint64_t& number : numbers) ++number;
  return numbers;
}

// So little room for log and rows that flushes run all the time.
StoreOptions OptionsOf(const Plan& plan) {
  StoreOptions options;
  options.path = plan.directory + "/store";
  options.memory_bytes = int64_t{16} << 20;
  options.log_bytes_max = int64_t{1} << 20;
  options.durability = plan.machine ? Durability::kMachine : Durability::kProcess;
  if (plan.mutant == "no_log") options.durability = Durability::kNone;
  if (plan.mutant == "no_sync") options.durability = Durability::kProcess;
  options.faults.apply_twice = plan.mutant == "no_guard";
  options.faults.forget_clients = plan.mutant == "no_window";
  return options;
}

absl::Status OpenTables(EmbeddingStore& store) {
  for (const TableOptions& table : OracleTables()) {
    PAGODA_RETURN_IF_ERROR(store.OpenTable(table).status());
  }
  return absl::OkStatus();
}

// Pushes until it fails or `stop`.
absl::Status RunWriter(const Plan& plan, EmbeddingStore& store, uint32_t writer, Progress* progress,
                       const std::atomic<bool>& stop) {
  while (!stop) {
    const uint64_t number = progress->acknowledged[writer] + 1;
    if (plan.mutant == "early_ack") progress->acknowledged[writer] = number;
    PAGODA_RETURN_IF_ERROR(Send(store, plan.seed, writer, number));
    progress->acknowledged[writer] = number;
  }
  return absl::OkStatus();
}

std::string CutPath(const Plan& plan, uint64_t number) {
  return absl::StrCat(plan.directory, "/cut-", number);
}

// Renamed first: what has a cut's name is whole.
void RemoveCut(const Plan& plan, uint64_t number) {
  const std::string removed = plan.directory + "/removed";
  std::error_code missing;
  stdfs::remove_all(removed);
  stdfs::rename(CutPath(plan, number), removed, missing);
  stdfs::remove_all(removed);
}

// Cuts now and then; the two newest cuts stay.
absl::Status RunCuts(const Plan& plan, EmbeddingStore& store, Progress* progress,
                     const std::atomic<bool>& stop) {
  for (; !stop; std::this_thread::sleep_for(std::chrono::milliseconds(30))) {
    const uint64_t number = progress->cuts + 1;
    RemoveCut(plan, number - 2);
    RemoveCut(plan, number);  // Made just before a kill.
    PAGODA_RETURN_IF_ERROR(store.Cut(CutPath(plan, number)).status());
    progress->cuts = number;
  }
  return absl::OkStatus();
}

// All writers and cuts until one fails (the first failure) or `stop`.
absl::Status RunAll(const Plan& plan, EmbeddingStore& store, Progress* progress,
                    std::atomic<bool>& stop) {
  std::vector<absl::Status> statuses(kWriters + 1);
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w <= kWriters; ++w) {
    threads.emplace_back([&, w] {
      statuses[w] = w == kWriters ? RunCuts(plan, store, progress, stop)
                                  : RunWriter(plan, store, w, progress, stop);
      if (!statuses[w].ok()) stop = true;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) PAGODA_RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

absl::Status RunChild(const Plan& plan) {
  PAGODA_ASSIGN_OR_RETURN(Progress* const progress,
                          MapProgress<Progress>(plan.directory + "/progress"));
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<EmbeddingStore> store,
                          EmbeddingStore::Open(OptionsOf(plan)));
  PAGODA_RETURN_IF_ERROR(OpenTables(*store));
  std::atomic<bool> stop{false};
  return RunAll(plan, *store, progress, stop);
}

pid_t StartChild(const Plan& plan) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  const std::string seed = absl::StrCat(plan.seed);
  const int out =
      ::open((plan.directory + "/child.log").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  ::dup2(out, 1);
  ::dup2(out, 2);
  ::execl("/proc/self/exe", "crash_oracle", plan.directory.c_str(), "--child", "--seed",
          seed.c_str(), "--mutant", plan.mutant.c_str(), nullptr);
  ::_exit(127);
}

// Starts a child and kills it; with `early` while it opens the store, most likely.
absl::Status StartAndKill(const Plan& plan, Progress* progress, bool early,
                          std::chrono::microseconds after) {
  const RunOracle::Numbers before = progress->Numbers();
  const pid_t child = StartChild(plan);
  if (child < 0) return absl::UnavailableError("cannot fork");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!early && progress->Numbers() == before && ::waitpid(child, nullptr, WNOHANG) == 0 &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::this_thread::sleep_for(after);
  if (::kill(child, SIGKILL) != 0) {
    std::ifstream log(plan.directory + "/child.log");
    return absl::DataLossError(absl::StrCat(
        "the child ended by itself: ",
        std::string(std::istreambuf_iterator<char>(log), std::istreambuf_iterator<char>())));
  }
  int status = 0;
  if (::waitpid(child, &status, 0) == child && !WIFSIGNALED(status)) {
    std::ifstream log(plan.directory + "/child.log");
    return absl::DataLossError(absl::StrCat(
        "the child ended by itself: ",
        std::string(std::istreambuf_iterator<char>(log), std::istreambuf_iterator<char>())));
  }
  return absl::OkStatus();
}

// Every cut that has its name is whole; the newest is some prefix of every writer.
absl::Status CheckCuts(const Plan& plan, const Progress& progress, bool rows) {
  const uint64_t newest = progress.cuts;
  for (uint64_t number = newest == 0 ? 1 : newest; number <= newest + 1; ++number) {
    const std::string path = CutPath(plan, number);
    if (!stdfs::exists(path)) {
      if (number != newest || newest == 0) continue;
      return absl::DataLossError(path + " is gone");
    }
    PAGODA_RETURN_IF_ERROR_CONTEXT(EmbeddingStore::VerifyCut(path).status(), path);
    if (!rows || number != newest) continue;
    StoreOptions options;
    options.path = path;
    options.read_only = true;
    options.memory_bytes = int64_t{16} << 20;
    PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<EmbeddingStore> cut,
                            EmbeddingStore::Open(options));
    RunOracle oracle(plan.seed);
    PAGODA_RETURN_IF_ERROR_CONTEXT(
        oracle.Check(*cut, RunOracle::Numbers{}, PlusOne(progress.Numbers())), path);
  }
  return absl::OkStatus();
}

absl::Status KillProcesses(const Plan& plan) {
  PAGODA_ASSIGN_OR_RETURN(Progress* const progress,
                          MapProgress<Progress>(plan.directory + "/progress"));
  std::mt19937_64 random(plan.seed);
  RunOracle oracle(plan.seed);
  int checks = 0;
  for (int kill = 1; kill <= plan.kills; ++kill) {
    const bool early = kill > 1 && random() % 3 == 0;
    const uint64_t longest = early ? 30000 : kill % 4 == 0 ? 400000 : 100000;
    const std::chrono::microseconds after(random() % longest);
    PAGODA_RETURN_IF_ERROR_CONTEXT(StartAndKill(plan, progress, early, after),
                                   absl::StrCat("kill ", kill));
    // Left alone now and then: the next child recovers from what a recovery left.
    if (early && random() % 2 == 0 && kill < plan.kills) continue;
    StoreOptions options = OptionsOf(plan);
    options.read_only = random() % 2 == 0;  // The next child finds what the kill left.
    const auto check = [&]() -> absl::Status {
      PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<EmbeddingStore> store,
                              EmbeddingStore::Open(options));
      PAGODA_RETURN_IF_ERROR(
          oracle.Check(*store, progress->Numbers(), PlusOne(progress->Numbers())));
      return CheckCuts(plan, *progress, kill % 25 == 0);
    };
    PAGODA_RETURN_IF_ERROR_CONTEXT(check(), absl::StrCat("kill ", kill));
    ++checks;
  }
  uint64_t pushes = 0;
  for (const uint64_t number : progress->Numbers()) pushes += number;
  std::printf("%d kills, %d checks of %lu rows after %lu acknowledged pushes and %lu cuts\n",
              plan.kills, checks, static_cast<unsigned long>(oracle.rows()),
              static_cast<unsigned long>(pushes), static_cast<unsigned long>(progress->cuts));
  return absl::OkStatus();
}

// Runs the store until the power goes: at a random moment, or (`early`) at a random
// call of the recovery.
absl::Status RunUntilPowerCut(const Plan& plan, FaultyFileSystem* fs, Progress* progress,
                              std::mt19937_64& random) {
  const bool early = random() % 3 == 0;
  if (early) fs->StopAfter(static_cast<int64_t>(random() % 60));
  StoreOptions options = OptionsOf(plan);
  options.file_system = fs;
  absl::StatusOr<std::unique_ptr<EmbeddingStore>> store = EmbeddingStore::Open(options);
  absl::Status status = store.ok() ? OpenTables(**store) : store.status();
  if (status.ok()) {
    std::atomic<bool> stop{false};
    std::atomic<bool> off{false};
    std::thread power([&] {
      const auto end =
          std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 150000);
      while (!stop && std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
      off = !stop;
      fs->StopAfter(0);
      stop = true;
    });
    status = RunAll(plan, **store, progress, stop);
    power.join();
    if (off) status = absl::OkStatus();
  }
  // What fails in a recovery that loses its power is not the store's fault.
  return early ? absl::OkStatus() : status;
}

absl::Status CutPower(const Plan& plan) {
  std::mt19937_64 random(plan.seed);
  RunOracle oracle(plan.seed);
  Progress progress = {};
  FaultyFileSystem fs;
  fs.SlowSyncs(150);
  for (int kill = 1; kill <= plan.kills; ++kill) {
    PAGODA_RETURN_IF_ERROR_CONTEXT(RunUntilPowerCut(plan, &fs, &progress, random),
                                   absl::StrCat("power cut ", kill));
    fs.LosePower(random() % 2 == 0 ? 0 : random());
    fs.StopAfter(-1);
    if (random() % 3 == 0 && kill < plan.kills) continue;
    StoreOptions options = OptionsOf(plan);
    options.file_system = &fs;
    options.read_only = random() % 2 == 0;
    const auto check = [&]() -> absl::Status {
      absl::StatusOr<std::unique_ptr<EmbeddingStore>> store = EmbeddingStore::Open(options);
      // The power may go before there is a store that can be read.
      if (options.read_only && absl::IsNotFound(store.status()) &&
          progress.Numbers() == RunOracle::Numbers{}) {
        return absl::OkStatus();
      }
      PAGODA_RETURN_IF_ERROR(store.status());
      PAGODA_RETURN_IF_ERROR(
          oracle.Check(**store, progress.Numbers(), PlusOne(progress.Numbers())));
      return CheckCuts(plan, progress, kill % 25 == 0);
    };
    PAGODA_RETURN_IF_ERROR_CONTEXT(check(), absl::StrCat("power cut ", kill));
  }
  uint64_t pushes = 0;
  for (const uint64_t number : progress.Numbers()) pushes += number;
  std::printf(
      "%d power cuts, %lu rows compared after %lu acknowledged pushes, %ld syncs, %lu cuts\n",
      plan.kills, static_cast<unsigned long>(oracle.rows()), static_cast<unsigned long>(pushes),
      static_cast<long>(fs.syncs()), static_cast<unsigned long>(progress.cuts));
  return absl::OkStatus();
}

bool ParsePlan(int argc, char** argv, Plan* plan) {
  if (argc < 2) return false;
  plan->directory = argv[1];
  for (int i = 2; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--child") {
      plan->child = true;
      continue;
    }
    if (++i >= argc) return false;
    const std::string value = argv[i];
    bool good = true;
    if (option == "--kills") {
      good = absl::SimpleAtoi(value, &plan->kills);
    } else if (option == "--seed") {
      good = absl::SimpleAtoi(value, &plan->seed);
    } else if (option == "--durability") {
      plan->machine = value == "machine";
      good = plan->machine || value == "process";
    } else if (option == "--mutant") {
      plan->mutant = value;
    } else {
      good = false;
    }
    if (!good) return false;
  }
  return true;
}

int Main(int argc, char** argv) {
  Plan plan;
  if (!ParsePlan(argc, argv, &plan)) return 2;
  if (plan.seed == 0) plan.seed = 1 + std::random_device{}();
  absl::Status status;
  if (plan.child) {
    status = RunChild(plan);
  } else {
    plan.directory += absl::StrCat("/crash-", ::getpid());
    stdfs::create_directories(plan.directory);
    std::printf("seed %lu\n", static_cast<unsigned long>(plan.seed));
    std::fflush(stdout);
    status = plan.machine ? CutPower(plan) : KillProcesses(plan);
    const bool kept = !status.ok() && plan.mutant.empty();
    if (kept) std::printf("left in %s\n", plan.directory.c_str());
    if (!kept) stdfs::remove_all(plan.directory);
  }
  if (!status.ok()) std::printf("NOT AS ACKNOWLEDGED: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  return pagoda::Main(argc, argv);
}

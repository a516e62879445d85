// Runs a store into a full disk, over and over, and holds what it has against an oracle of
// what was acknowledged (writer_oracle.h):
//
//   full_disk DISK SCRATCH [--rounds 20] [--seed S]
//
// DISK is a small file system of its own (tests/acceptance/19_full_disk.sh mounts a tmpfs),
// SCRATCH lies on another. In each round a file takes the room on DISK but for a random rest;
// a child pushes until its pushes are refused. Then, every second time, the file goes, the
// child must go on by itself, and is killed with -9 later; else it is killed while the disk
// is full, and the store opened while it still is: it opens or says RESOURCE_EXHAUSTED.
// After each round every writer's rows equal its acknowledged pushes plus at most the one
// that was under way, bit for bit. Exits with 0 when that held.
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
#include "base/status_macros.h"
#include "tests/embedding_store/shared_progress.h"
#include "tests/faults/writer_oracle.h"

namespace pagoda {
namespace {

namespace stdfs = std::filesystem;
using std::chrono::milliseconds;

constexpr int kFullSeconds = 60;    // Until pushes must have been refused.
constexpr int kGoOnSeconds = 20;    // Until they must be taken again when there is room.
constexpr uint64_t kRefusals = 40;  // Of which so many make a full disk.

struct Plan {
  std::string disk, scratch;
  int rounds = 20;
  uint64_t seed = 0;
  bool child = false;
};

// What writers have had acknowledged; shared with the child through a file.
struct Progress {
  std::array<std::atomic<uint64_t>, kWriters> acknowledged;
  std::atomic<uint64_t> refused;

  RunOracle::Numbers Numbers(uint64_t more) const {
    RunOracle::Numbers numbers;
    for (uint32_t w = 0; w < kWriters; ++w) numbers[w] = acknowledged[w].load() + more;
    return numbers;
  }
  uint64_t Sum() const {
    uint64_t sum = 0;
    for (const auto& number : acknowledged) sum += number.load();
    return sum;
  }
};

StoreOptions OptionsOf(const Plan& plan) {
  StoreOptions options;
  options.path = plan.disk + "/store";
  options.memory_bytes = int64_t{16} << 20;
  options.log_bytes_max = int64_t{1} << 20;
  return options;
}

absl::StatusOr<std::unique_ptr<EmbeddingStore>> OpenStore(const Plan& plan) {
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<EmbeddingStore> store,
                          EmbeddingStore::Open(OptionsOf(plan)));
  for (const TableOptions& table : OracleTables()) {
    PAGODA_RETURN_IF_ERROR(store->OpenTable(table).status());
  }
  return store;
}

// A push that is refused is sent again until it is taken.
absl::Status RunWriter(const Plan& plan, EmbeddingStore& store, uint32_t writer,
                       Progress* progress) {
  for (;;) {
    const uint64_t number = progress->acknowledged[writer] + 1;
    const absl::Status sent = Send(store, plan.seed, writer, number);
    if (sent.ok()) {
      progress->acknowledged[writer] = number;
    } else if (absl::IsResourceExhausted(sent)) {
      ++progress->refused;
      std::this_thread::sleep_for(milliseconds(2));
    } else {
      return sent;
    }
  }
}

absl::Status RunChild(const Plan& plan) {
  PAGODA_ASSIGN_OR_RETURN(Progress* const progress,
                          MapProgress<Progress>(plan.scratch + "/progress"));
  absl::StatusOr<std::unique_ptr<EmbeddingStore>> store = OpenStore(plan);
  for (; absl::IsResourceExhausted(store.status()); store = OpenStore(plan)) {
    ++progress->refused;
    std::this_thread::sleep_for(milliseconds(20));
  }
  PAGODA_RETURN_IF_ERROR(store.status());
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w < kWriters; ++w) {
    threads.emplace_back([&, w] {
      const absl::Status ended = RunWriter(plan, **store, w, progress);
      std::printf("%s\n", ended.ToString().c_str());
      std::fflush(stdout);
      ::_exit(1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return absl::OkStatus();
}

class Child {
 public:
  explicit Child(const Plan& plan) : log_(plan.scratch + "/child.log"), pid_(::fork()) {
    if (pid_ != 0) return;
    const int out = ::open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::dup2(out, 1);
    ::dup2(out, 2);
    const std::string seed = absl::StrCat(plan.seed);
    ::execl("/proc/self/exe", "full_disk", plan.disk.c_str(), plan.scratch.c_str(), "--child",
            "--seed", seed.c_str(), nullptr);
    ::_exit(127);
  }
  ~Child() { Kill(); }

  void Kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

  // Waits until `done`.   DATA_LOSS  the child ended, or `what` took longer than `seconds`
  template <typename Done>
  absl::Status Wait(const char* what, int seconds, Done done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    while (!done()) {
      std::string why;
      if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
        pid_ = -1;
        why = "the child ended by itself";
      } else if (std::chrono::steady_clock::now() > deadline) {
        why = absl::StrCat(what, " took more than ", seconds, " s");
      }
      if (!why.empty()) {
        std::ifstream log(log_);
        return absl::DataLossError(absl::StrCat(
            why, ": ",
            std::string(std::istreambuf_iterator<char>(log), std::istreambuf_iterator<char>())));
      }
      std::this_thread::sleep_for(milliseconds(2));
    }
    return absl::OkStatus();
  }

 private:
  const std::string log_;
  pid_t pid_;
};

// Takes all room but `rest` bytes.
void PutBallast(const std::string& path, uint64_t rest) {
  const uint64_t free = stdfs::space(stdfs::path(path).parent_path()).available;
  std::ofstream file(path, std::ios::binary);
  const std::string block(4096, 'x');
  for (uint64_t bytes = rest; bytes + block.size() <= free; bytes += block.size()) file << block;
}

// Opens the store and compares; `*full`: it may refuse to open for want of room, and says so.
absl::Status Check(const Plan& plan, const Progress& progress, RunOracle* oracle, bool* full) {
  absl::StatusOr<std::unique_ptr<EmbeddingStore>> store = OpenStore(plan);
  if (*full && absl::IsResourceExhausted(store.status())) return absl::OkStatus();
  *full = false;
  PAGODA_RETURN_IF_ERROR(store.status());
  return oracle->Check(**store, progress.Numbers(0), progress.Numbers(1));
}

struct Counts {
  int killed_full = 0, went_on = 0, opened_full = 0;
};

absl::Status RunRound(const Plan& plan, std::mt19937_64& random, bool kill_full, Progress* progress,
                      RunOracle* oracle, Counts* counts) {
  const std::string ballast = plan.disk + "/ballast";
  PutBallast(ballast, random() % (uint64_t{3} << 20));
  Child child(plan);
  progress->refused = 0;
  PAGODA_RETURN_IF_ERROR(
      child.Wait("filling the disk", kFullSeconds, [&] { return progress->refused > kRefusals; }));
  if (!kill_full) {
    stdfs::remove(ballast);
    const uint64_t sum = progress->Sum();
    PAGODA_RETURN_IF_ERROR(child.Wait("going on with room", kGoOnSeconds,
                                      [&] { return progress->Sum() > sum + 100; }));
    ++counts->went_on;
  }
  std::this_thread::sleep_for(std::chrono::microseconds(random() % 50000));
  child.Kill();
  counts->killed_full += kill_full ? 1 : 0;
  bool full = kill_full;
  PAGODA_RETURN_IF_ERROR(Check(plan, *progress, oracle, &full));
  stdfs::remove(ballast);
  if (!full) {
    counts->opened_full += kill_full ? 1 : 0;
    return absl::OkStatus();
  }
  full = false;
  return Check(plan, *progress, oracle, &full);
}

absl::Status RunRounds(const Plan& plan) {
  PAGODA_ASSIGN_OR_RETURN(Progress* const progress,
                          MapProgress<Progress>(plan.scratch + "/progress"));
  std::mt19937_64 random(plan.seed);
  RunOracle oracle(plan.seed);
  Counts counts;
  for (int round = 1; round <= plan.rounds; ++round) {
    PAGODA_RETURN_IF_ERROR_CONTEXT(
        RunRound(plan, random, round % 2 == 0, progress, &oracle, &counts),
        absl::StrCat("round ", round));
  }
  std::printf(
      "%d full disks: %d times the store went on by itself when there was room, %d times it was "
      "killed while full (and opened while full %d times); %lu rows compared after %lu "
      "acknowledged pushes\n",
      plan.rounds, counts.went_on, counts.killed_full, counts.opened_full,
      static_cast<unsigned long>(oracle.rows()), static_cast<unsigned long>(progress->Sum()));
  return absl::OkStatus();
}

bool ParsePlan(int argc, char** argv, Plan* plan) {
  if (argc < 3) return false;
  plan->disk = argv[1];
  plan->scratch = argv[2];
  for (int i = 3; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--child") {
      plan->child = true;
    } else if (i + 1 < argc && option == "--rounds") {
      if (!absl::SimpleAtoi(argv[++i], &plan->rounds)) return false;
    } else if (i + 1 < argc && option == "--seed") {
      if (!absl::SimpleAtoi(argv[++i], &plan->seed)) return false;
    } else {
      return false;
    }
  }
  return true;
}

int Main(int argc, char** argv) {
  Plan plan;
  if (!ParsePlan(argc, argv, &plan)) return 2;
  if (plan.seed == 0) plan.seed = 1 + std::random_device{}();
  if (!plan.child) std::printf("seed %lu\n", static_cast<unsigned long>(plan.seed));
  std::fflush(stdout);
  const absl::Status status = plan.child ? RunChild(plan) : RunRounds(plan);
  if (!status.ok()) std::printf("NOT AS ACKNOWLEDGED: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  return pagoda::Main(argc, argv);
}

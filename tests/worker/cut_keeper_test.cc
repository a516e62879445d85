#include "worker/cut_keeper.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>

#include "tests/worker/scripted_client.h"
#include "tests/worker/temporary_directory.h"
#include "tests/worker/thread_allreduce.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

JobCut CutAt(const CutKeeper& keeper, Step step) {
  JobCut cut;
  cut.manifest.set_step(step);
  cut.manifest.set_epoch(3);
  cut.manifest.set_cut(keeper.NameFor(step));
  cut.values = {1.0f, 2.0f};
  return cut;
}

std::vector<std::string> CompleteCuts(const std::string& output_dir) {
  std::vector<std::string> names;
  const auto cuts = ListJobCuts(output_dir);
  REQUIRE(cuts.ok());
  for (const ListedCut& cut : *cuts) {
    if (cut.status.ok()) names.push_back(cut.name);
  }
  return names;
}

TEST_CASE("servers prepare before the manifest, old cuts go after it, the best one stays") {
  TemporaryDirectory dir;
  ScriptedClient client;
  const auto alone = SingleWorker();
  CutKeeper keeper({dir.path(), 3, 2}, &client, alone.get());
  for (const Step step : {10, 20, 30, 40}) {
    const auto made = keeper.Make(CutAt(keeper, step), keeper.NameFor(10));
    REQUIRE(made.ok());
    const auto manifest = ReadCutManifest(*made);
    REQUIRE(manifest.ok());
    REQUIRE(manifest->servers_size() == 1);
    REQUIRE(manifest->servers(0).checksum() == 42);
    REQUIRE(manifest->servers(0).sequence() == 7);
  }
  REQUIRE(CompleteCuts(dir.path()) == std::vector<std::string>{"step-000000010.epoch3",
                                                               "step-000000030.epoch3",
                                                               "step-000000040.epoch3"});
  REQUIRE(client.events ==
          std::vector<std::string>{"prepare step-000000010.epoch3", "prepare step-000000020.epoch3",
                                   "prepare step-000000030.epoch3", "prepare step-000000040.epoch3",
                                   "drop step-000000020.epoch3"});
}

TEST_CASE("a server that cannot prepare leaves no cut, and the old ones stay") {
  TemporaryDirectory dir;
  ScriptedClient client;
  const auto alone = SingleWorker();
  CutKeeper keeper({dir.path(), 3, 1}, &client, alone.get());
  REQUIRE(keeper.Make(CutAt(keeper, 10), "").ok());
  client.refuse["prepare"] = absl::ResourceExhaustedError("no disk space");
  REQUIRE(absl::IsResourceExhausted(keeper.Make(CutAt(keeper, 20), "").status()));
  REQUIRE(CompleteCuts(dir.path()) == std::vector<std::string>{"step-000000010.epoch3"});

  // The next start finds the unfinished one and drops it everywhere.
  client.refuse.clear();
  client.events.clear();
  REQUIRE(keeper.DropGarbage().ok());
  REQUIRE(client.events == std::vector<std::string>{"drop step-000000020.epoch3"});
  REQUIRE_FALSE(fs::exists(CutDirectory(dir.path(), keeper.NameFor(20))));
  REQUIRE(keeper.Make(CutAt(keeper, 20), "").ok());
}

TEST_CASE("a server that never had an old cut does not stop its removal") {
  TemporaryDirectory dir;
  ScriptedClient client;
  const auto alone = SingleWorker();
  CutKeeper keeper({dir.path(), 3, 1}, &client, alone.get());
  REQUIRE(keeper.Make(CutAt(keeper, 10), "").ok());
  client.refuse["drop"] = absl::NotFoundError("no such cut");
  REQUIRE(keeper.Make(CutAt(keeper, 20), "").ok());
  REQUIRE(CompleteCuts(dir.path()) == std::vector<std::string>{"step-000000020.epoch3"});
}

TEST_CASE("a damaged cut is neither garbage nor dropped with the old ones") {
  TemporaryDirectory dir;
  ScriptedClient client;
  const auto alone = SingleWorker();
  CutKeeper keeper({dir.path(), 3, 1}, &client, alone.get());
  const auto made = keeper.Make(CutAt(keeper, 10), "");
  REQUIRE(made.ok());
  fs::resize_file(*made + "/manifest", 20);
  REQUIRE(keeper.DropGarbage().ok());
  REQUIRE(keeper.Make(CutAt(keeper, 20), "").ok());
  REQUIRE(fs::exists(*made));
}

TEST_CASE("two workers: one cut, one failure for both, and unequal parameters are found") {
  TemporaryDirectory dir;
  ScriptedClient clients[2];
  ThreadAllReduceGroup group(2);
  absl::Status status[2];
  const auto both = [&](Step step, float second_value) {
    std::vector<std::thread> threads;
    for (int r = 0; r < 2; ++r) {
      threads.emplace_back([&, r] {
        ThreadAllReduce allreduce(&group, r);
        CutKeeper keeper({dir.path(), 3, 1}, &clients[r], &allreduce);
        JobCut cut = CutAt(keeper, step);
        if (r == 1) cut.values[1] = second_value;
        status[r] = keeper.Make(std::move(cut), "").status();
      });
    }
    for (std::thread& thread : threads) thread.join();
  };
  both(10, 2.0f);
  REQUIRE(status[0].ok());
  REQUIRE(status[1].ok());
  REQUIRE(clients[1].events.empty());
  both(20, 2.5f);
  for (const absl::Status& s : status) REQUIRE(absl::IsInternal(s));
  clients[0].refuse["prepare"] = absl::ResourceExhaustedError("no disk space");
  both(30, 2.0f);
  REQUIRE(absl::IsResourceExhausted(status[0]));
  REQUIRE(absl::IsAborted(status[1]));
  REQUIRE(CompleteCuts(dir.path()) == std::vector<std::string>{"step-000000010.epoch3"});
}

TEST_CASE("a rewind goes to the servers with this run's epoch") {
  TemporaryDirectory dir;
  ScriptedClient client;
  const auto alone = SingleWorker();
  CutKeeper keeper({dir.path(), 3, 1}, &client, alone.get());
  proto::JobCut cut;
  cut.set_cut("step-000000010");
  cut.add_servers()->set_directory("/a");
  REQUIRE(keeper.Restore(cut, "aside").ok());
  REQUIRE(client.events == std::vector<std::string>{"restore step-000000010 epoch 3 keep 'aside'"});
}

TEST_CASE("a cut of another number of servers is restored from all their directories") {
  TemporaryDirectory dir;
  ScriptedClient client;
  const auto alone = SingleWorker();
  CutKeeper keeper({dir.path(), 3, 1}, &client, alone.get());
  proto::JobCut cut;
  cut.set_cut("c");
  cut.add_servers()->set_directory("/a");
  cut.add_servers()->set_directory("/b");
  REQUIRE(keeper.Restore(cut, "").ok());
  REQUIRE(client.events == std::vector<std::string>{"restore c epoch 3 keep '' from /a from /b"});
}

}  // namespace
}  // namespace pagoda

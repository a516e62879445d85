#include "worker/job_cut.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "tests/worker/temporary_directory.h"
#include "worker/durable_file.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

JobCut MakeCut(int64_t step, uint64_t epoch = 1) {
  JobCut cut;
  cut.manifest.set_job("adult");
  cut.manifest.set_model("deepfm");
  cut.manifest.set_cut(CutName(step, epoch));
  cut.manifest.set_step(step);
  cut.manifest.set_epoch(epoch);
  auto* server = cut.manifest.add_servers();
  server->set_address("a:1");
  server->set_checksum(uint64_t{0xfedcba9876543210});
  cut.manifest.add_schedule(0.1);
  cut.values = {1.0f, -0.0f, 3.5f};
  cut.slots = {{0.25f, 0.5f}, {7.0f, 8.0f}};
  cut.job_text = "[job]\nname = \"adult\"\n";
  return cut;
}

std::string WriteCut(const std::string& output_dir, const JobCut& cut) {
  auto directory = BeginJobCut(output_dir, cut.manifest.cut());
  REQUIRE(directory.ok());
  const absl::Status written = WriteJobCut(*directory, cut);
  INFO(written.ToString());
  REQUIRE(written.ok());
  return *directory;
}

void FlipByte(const std::string& path, int64_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  const char byte = static_cast<char>(file.get());
  file.seekp(at);
  file.put(static_cast<char>(byte ^ 0x10));
}

TEST_CASE("a cut comes back bit for bit") {
  TemporaryDirectory dir;
  const JobCut cut = MakeCut(200);
  const auto back = ReadJobCut(WriteCut(dir.path(), cut));
  REQUIRE(back.ok());
  REQUIRE(back->values == cut.values);
  REQUIRE(std::signbit(back->values[1]));
  REQUIRE(back->slots == cut.slots);
  REQUIRE(back->job_text == cut.job_text);
  REQUIRE(back->manifest.step() == 200);
  REQUIRE(back->manifest.servers(0).checksum() == uint64_t{0xfedcba9876543210});
  REQUIRE(back->manifest.schedule(0) == 0.1);
  REQUIRE(back->manifest.num_trainable() == 2);
}

TEST_CASE("a cut without slots, values or job text is legal") {
  TemporaryDirectory dir;
  JobCut cut;
  cut.manifest.set_cut("step-000000000");
  const auto back = ReadJobCut(WriteCut(dir.path(), cut));
  REQUIRE(back.ok());
  REQUIRE(back->values.empty());
  REQUIRE(back->slots.empty());
  REQUIRE(back->job_text.empty());
}

TEST_CASE("a crash at any step of writing leaves no cut, and the older one stays newest") {
  for (const std::string step : {"begin", "dense", "job", "directory", "manifest"}) {
    CAPTURE(step);
    TemporaryDirectory dir;
    WriteCut(dir.path(), MakeCut(100));
    auto directory = BeginJobCut(dir.path(), CutName(200, 1));
    REQUIRE(directory.ok());
    if (step != "begin") {
      const absl::Status status = WriteJobCut(*directory, MakeCut(200), [&](absl::string_view at) {
        return at == step ? absl::AbortedError("crash") : absl::OkStatus();
      });
      REQUIRE(absl::IsAborted(status));
    }
    REQUIRE(absl::IsNotFound(ReadCutManifest(*directory).status()));
    const auto newest = NewestJobCut(dir.path());
    REQUIRE(newest.ok());
    REQUIRE(newest->manifest.step() == 100);
    const auto cuts = ListJobCuts(dir.path());
    REQUIRE(cuts.ok());
    REQUIRE(cuts->size() == 2);
    REQUIRE_FALSE((*cuts)[0].status.ok());  // The incomplete one comes first.
  }
}

TEST_CASE("a temporary manifest left behind does not make a cut") {
  TemporaryDirectory dir;
  const std::string directory = WriteCut(dir.path(), MakeCut(100));
  fs::rename(directory + "/manifest", directory + "/manifest.tmp");
  REQUIRE(absl::IsNotFound(NewestJobCut(dir.path()).status()));
}

TEST_CASE("any flipped byte of any file is found, and the file named") {
  for (const std::string name : {"manifest", "dense.bin", "job.toml"}) {
    TemporaryDirectory dir;
    const std::string directory = WriteCut(dir.path(), MakeCut(100));
    const auto size = static_cast<int64_t>(fs::file_size(directory + "/" + name));
    for (int64_t at = 0; at < size; ++at) {
      CAPTURE(name, at);
      FlipByte(directory + "/" + name, at);
      const absl::Status status = ReadJobCut(directory).status();
      REQUIRE_FALSE(status.ok());
      REQUIRE(std::string(status.message()).find(name) != std::string::npos);
      FlipByte(directory + "/" + name, at);
    }
    REQUIRE(ReadJobCut(directory).ok());
  }
}

TEST_CASE("a manifest of another version is refused as such") {
  TemporaryDirectory dir;
  const std::string directory = WriteCut(dir.path(), MakeCut(100));
  FlipByte(directory + "/manifest", 8);
  const absl::Status status = ReadCutManifest(directory).status();
  REQUIRE(absl::IsFailedPrecondition(status));
}

TEST_CASE("a truncated file is damage, at every length") {
  TemporaryDirectory dir;
  const std::string directory = WriteCut(dir.path(), MakeCut(100));
  const std::string whole = *ReadWholeFile(directory + "/manifest");
  for (size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    REQUIRE(WriteFileDurably(directory + "/manifest", whole.substr(0, size)).ok());
    REQUIRE(absl::IsDataLoss(ReadCutManifest(directory).status()));
  }
}

TEST_CASE("the newest cut is the one of the highest epoch, then step") {
  TemporaryDirectory dir;
  REQUIRE(ListJobCuts(dir.path())->empty());
  REQUIRE(absl::IsNotFound(NewestJobCut(dir.path()).status()));
  WriteCut(dir.path(), MakeCut(400, 1));
  WriteCut(dir.path(), MakeCut(250, 2));
  WriteCut(dir.path(), MakeCut(1000, 1));
  REQUIRE(NewestJobCut(dir.path())->name == "step-000000250.epoch2");
}

TEST_CASE("dropping removes the manifest before the rows, and everything in the end") {
  TemporaryDirectory dir;
  const std::string directory = WriteCut(dir.path(), MakeCut(100));
  bool manifest_gone = false;
  const absl::Status refused = DropJobCut(directory, [&](const std::string& name) {
    manifest_gone = name == "step-000000100" && !fs::exists(directory + "/manifest");
    return absl::UnavailableError("server gone");
  });
  REQUIRE(absl::IsUnavailable(refused));
  REQUIRE(manifest_gone);
  REQUIRE(fs::exists(directory));  // Garbage that can still be found and dropped.
  REQUIRE(DropJobCut(directory, [](const std::string&) { return absl::OkStatus(); }).ok());
  REQUIRE_FALSE(fs::exists(directory));
}

TEST_CASE("a cut name is not begun twice") {
  TemporaryDirectory dir;
  REQUIRE(BeginJobCut(dir.path(), "step-000000001").ok());
  REQUIRE(absl::IsAlreadyExists(BeginJobCut(dir.path(), "step-000000001").status()));
}

TEST_CASE("every start claims a new epoch") {
  TemporaryDirectory dir;
  REQUIRE(*ClaimEpoch(dir / "out", 0) == 1);
  REQUIRE(*ClaimEpoch(dir / "out", 0) == 2);
  REQUIRE(*ClaimEpoch(dir / "out", 7) == 8);
  REQUIRE(*ClaimEpoch(dir / "out", 7) == 9);
  REQUIRE(WriteFileDurably(dir / "out/epoch", "nine").ok());
  REQUIRE(absl::IsDataLoss(ClaimEpoch(dir / "out", 0).status()));
}

}  // namespace
}  // namespace pagoda

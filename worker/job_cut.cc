#include "worker/job_cut.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "worker/durable_file.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "files are written as they lie");

constexpr absl::string_view kMagic = "PGJOBCUT";
constexpr uint32_t kFormatVersion = 1;
constexpr size_t kHeaderBytes = 16;  // Magic, version, length.
constexpr size_t kTrailerBytes = 8;  // Checksum.

template <typename T>
T LoadRaw(absl::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

template <typename T>
void AppendRaw(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

void AppendFloats(std::string& out, const std::vector<float>& values) {
  if (values.empty()) return;
  out.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

std::vector<float> TakeFloats(absl::string_view& bytes, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  const size_t size = values.size() * sizeof(float);
  if (size > 0) std::memcpy(values.data(), bytes.data(), size);
  bytes.remove_prefix(size);
  return values;
}

std::string FrameManifest(const proto::JobCut& manifest) {
  const std::string body = manifest.SerializeAsString();
  std::string framed(kMagic);
  AppendRaw(framed, kFormatVersion);
  AppendRaw(framed, static_cast<uint32_t>(body.size()));
  framed.append(body);
  AppendRaw(framed, HashBytes(framed));
  return framed;
}

absl::StatusOr<proto::JobCut> ParseManifest(absl::string_view framed, const std::string& path) {
  const absl::Status corrupt =
      absl::DataLossError(absl::StrCat(path, " is damaged: its checksum does not match"));
  if (framed.size() < kHeaderBytes + kTrailerBytes || !absl::StartsWith(framed, kMagic)) {
    return absl::DataLossError(absl::StrCat(path, " is not a cut manifest"));
  }
  const uint32_t version = LoadRaw<uint32_t>(framed.substr(8));
  if (version != kFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " has format version ", version, "; this build reads version ", kFormatVersion));
  }
  const size_t length = LoadRaw<uint32_t>(framed.substr(12));
  if (framed.size() != kHeaderBytes + length + kTrailerBytes) return corrupt;
  const absl::string_view covered = framed.substr(0, kHeaderBytes + length);
  if (LoadRaw<uint64_t>(framed.substr(kHeaderBytes + length)) != HashBytes(covered)) {
    return corrupt;
  }
  proto::JobCut manifest;
  const absl::string_view body = covered.substr(kHeaderBytes);
  if (!manifest.ParseFromArray(body.data(), static_cast<int>(body.size()))) return corrupt;
  return manifest;
}

std::string ManifestPath(const std::string& directory) {
  return absl::StrCat(directory, "/manifest");
}

absl::Status Probe(const CutWriteProbe& probe, absl::string_view step) {
  return probe ? probe(step) : absl::OkStatus();
}

}  // namespace

std::string CutName(int64_t step, uint64_t epoch) {
  std::string name = absl::StrFormat("step-%09d", step);
  if (epoch > 1) absl::StrAppend(&name, ".epoch", epoch);
  return name;
}

std::string CutDirectory(const std::string& output_dir, const std::string& name) {
  return absl::StrCat(output_dir, "/cuts/", name);
}

absl::StatusOr<std::string> BeginJobCut(const std::string& output_dir, const std::string& name) {
  const std::string directory = CutDirectory(output_dir, name);
  std::error_code error;
  if (fs::exists(directory, error)) {
    return absl::AlreadyExistsError(absl::StrCat(directory, " exists already"));
  }
  PAGODA_RETURN_IF_ERROR(MakeDirectories(directory));
  PAGODA_RETURN_IF_ERROR(SyncDirectory(fs::path(directory).parent_path().string()));
  return directory;
}

absl::Status WriteJobCut(const std::string& directory, JobCut cut, const CutWriteProbe& probe) {
  std::string dense;
  AppendFloats(dense, cut.values);
  for (const std::vector<float>& slot : cut.slots) AppendFloats(dense, slot);
  proto::JobCut& manifest = cut.manifest;
  manifest.set_num_elements(static_cast<int64_t>(cut.values.size()));
  manifest.set_num_slots(static_cast<int64_t>(cut.slots.size()));
  manifest.set_num_trainable(cut.slots.empty() ? 0 : static_cast<int64_t>(cut.slots[0].size()));
  manifest.set_dense_checksum(HashBytes(dense));
  manifest.set_job_text_checksum(HashBytes(cut.job_text));

  PAGODA_RETURN_IF_ERROR(Probe(probe, "dense"));
  PAGODA_RETURN_IF_ERROR(WriteFileDurably(absl::StrCat(directory, "/dense.bin"), dense));
  if (!cut.job_text.empty()) {
    PAGODA_RETURN_IF_ERROR(Probe(probe, "job"));
    PAGODA_RETURN_IF_ERROR(WriteFileDurably(absl::StrCat(directory, "/job.toml"), cut.job_text));
  }
  PAGODA_RETURN_IF_ERROR(Probe(probe, "directory"));
  PAGODA_RETURN_IF_ERROR(SyncDirectory(directory));
  PAGODA_RETURN_IF_ERROR(Probe(probe, "manifest"));
  return ReplaceFileDurably(ManifestPath(directory), FrameManifest(manifest));
}

absl::StatusOr<proto::JobCut> ReadCutManifest(const std::string& directory) {
  const std::string path = ManifestPath(directory);
  absl::StatusOr<std::string> framed = ReadWholeFile(path);
  if (absl::IsNotFound(framed.status())) {
    return absl::NotFoundError(
        absl::StrCat(directory, " is not a complete cut: it has no manifest"));
  }
  PAGODA_RETURN_IF_ERROR(framed.status());
  return ParseManifest(*framed, path);
}

absl::StatusOr<JobCut> ReadJobCut(const std::string& directory) {
  JobCut cut;
  PAGODA_ASSIGN_OR_RETURN(cut.manifest, ReadCutManifest(directory));
  const std::string dense_path = absl::StrCat(directory, "/dense.bin");
  PAGODA_ASSIGN_OR_RETURN(const std::string dense, ReadWholeFile(dense_path));
  const int64_t num_floats =
      cut.manifest.num_elements() + cut.manifest.num_slots() * cut.manifest.num_trainable();
  if (dense.size() != static_cast<size_t>(num_floats) * sizeof(float) ||
      HashBytes(dense) != cut.manifest.dense_checksum()) {
    return absl::DataLossError(
        absl::StrCat(dense_path, " is damaged: its checksum is not the manifest's"));
  }
  absl::string_view rest = dense;
  cut.values = TakeFloats(rest, cut.manifest.num_elements());
  for (int64_t i = 0; i < cut.manifest.num_slots(); ++i) {
    cut.slots.push_back(TakeFloats(rest, cut.manifest.num_trainable()));
  }
  const std::string job_path = absl::StrCat(directory, "/job.toml");
  if (cut.manifest.job_text_checksum() == HashBytes("")) return cut;
  PAGODA_ASSIGN_OR_RETURN(cut.job_text, ReadWholeFile(job_path));
  if (HashBytes(cut.job_text) != cut.manifest.job_text_checksum()) {
    return absl::DataLossError(
        absl::StrCat(job_path, " is damaged: its checksum is not the manifest's"));
  }
  return cut;
}

absl::StatusOr<std::vector<ListedCut>> ListJobCuts(const std::string& output_dir) {
  std::vector<ListedCut> cuts;
  std::error_code error;
  fs::directory_iterator entries(absl::StrCat(output_dir, "/cuts"), error);
  if (error == std::errc::no_such_file_or_directory) return cuts;
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    if (!entries->is_directory()) continue;
    ListedCut cut;
    cut.name = entries->path().filename().string();
    cut.directory = CutDirectory(output_dir, cut.name);
    absl::StatusOr<proto::JobCut> manifest = ReadCutManifest(cut.directory);
    cut.status = manifest.status();
    if (manifest.ok()) cut.manifest = *std::move(manifest);
    cuts.push_back(std::move(cut));
  }
  if (error) {
    return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot list ", output_dir, "/cuts"));
  }
  std::sort(cuts.begin(), cuts.end(), [](const ListedCut& a, const ListedCut& b) {
    const auto key = [](const ListedCut& cut) {
      return std::tuple(cut.status.ok(), cut.manifest.epoch(), cut.manifest.step(), cut.name);
    };
    return key(a) < key(b);
  });
  return cuts;
}

absl::StatusOr<ListedCut> NewestJobCut(const std::string& output_dir) {
  PAGODA_ASSIGN_OR_RETURN(std::vector<ListedCut> cuts, ListJobCuts(output_dir));
  if (cuts.empty() || !cuts.back().status.ok()) {
    return absl::NotFoundError(absl::StrCat("there is no complete cut in ", output_dir, "/cuts"));
  }
  return cuts.back();
}

absl::Status DropJobCut(const std::string& directory,
                        const std::function<absl::Status(const std::string&)>& drop_rows) {
  std::error_code error;
  fs::remove(ManifestPath(directory), error);
  if (error) {
    return absl::ErrnoToStatus(error.value(),
                               absl::StrCat("cannot remove ", ManifestPath(directory)));
  }
  PAGODA_RETURN_IF_ERROR(SyncDirectory(directory));
  PAGODA_RETURN_IF_ERROR(drop_rows(fs::path(directory).filename().string()));
  fs::remove_all(directory, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot remove ", directory));
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ClaimEpoch(const std::string& output_dir, uint64_t at_least) {
  const std::string path = absl::StrCat(output_dir, "/epoch");
  PAGODA_RETURN_IF_ERROR(MakeDirectories(output_dir));
  uint64_t epoch = 0;
  absl::StatusOr<std::string> text = ReadWholeFile(path);
  if (!text.ok() && !absl::IsNotFound(text.status())) return text.status();
  if (text.ok() && !absl::SimpleAtoi(*text, &epoch)) {
    return absl::DataLossError(absl::StrCat(path, " does not hold a number"));
  }
  epoch = std::max(epoch, at_least) + 1;
  PAGODA_RETURN_IF_ERROR(ReplaceFileDurably(path, absl::StrCat(epoch, "\n")));
  return epoch;
}

}  // namespace pagoda

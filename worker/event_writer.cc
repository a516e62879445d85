#include "worker/event_writer.h"

#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "proto/tensorboard.pb.h"
#include "worker/crc32c.h"

namespace pagoda {
namespace {

static_assert(std::endian::native == std::endian::little, "frames are written as they lie");

double WallSeconds() {
  return absl::ToUnixMicros(absl::Now()) * 1e-6;
}

std::string HostName() {
  char name[256] = "localhost";
  if (gethostname(name, sizeof(name)) != 0) return "localhost";
  name[sizeof(name) - 1] = '\0';
  return name;
}

template <typename T>
void AppendRaw(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventWriter>> EventWriter::Create(const std::string& directory) {
  static std::atomic<int> files_made{0};  // Two writers of one second stay apart.
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot create ", directory));
  }
  const std::string path =
      absl::StrCat(directory, "/events.out.tfevents.", absl::ToUnixSeconds(absl::Now()), ".",
                   HostName(), ".", getpid(), ".", files_made.fetch_add(1));
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", path));
  std::unique_ptr<EventWriter> writer(new EventWriter(file, path));
  proto::tensorboard::Event version;
  version.set_wall_time(WallSeconds());
  version.set_file_version("brain.Event:2");
  PAGODA_RETURN_IF_ERROR(writer->WriteRecord(version.SerializeAsString()));
  return writer;
}

EventWriter::~EventWriter() {
  std::fclose(file_);
}

absl::Status EventWriter::Write(int64_t step, const std::vector<Scalar>& scalars) {
  proto::tensorboard::Event event;
  event.set_wall_time(WallSeconds());
  event.set_step(step);
  for (const Scalar& scalar : scalars) {
    if (!std::isfinite(scalar.value)) continue;
    auto* value = event.mutable_summary()->add_value();
    value->set_tag(scalar.tag);
    value->set_simple_value(static_cast<float>(scalar.value));
  }
  if (!event.has_summary()) return absl::OkStatus();
  return WriteRecord(event.SerializeAsString());
}

absl::Status EventWriter::WriteRecord(const std::string& event) {
  std::string record;
  AppendRaw(record, static_cast<uint64_t>(event.size()));
  AppendRaw(record, MaskCrc(Crc32c(record)));
  record.append(event);
  AppendRaw(record, MaskCrc(Crc32c(event)));
  if (std::fwrite(record.data(), 1, record.size(), file_) != record.size() ||
      std::fflush(file_) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path_));
  }
  return absl::OkStatus();
}

}  // namespace pagoda

#include "deploy/world_files.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/thread_pool.h"
#include "worker/durable_file.h"

namespace pagoda {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using FilePointer = std::unique_ptr<std::FILE, CloseFile>;

absl::Status WriteError(const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
}

// The files of a world while they grow.
class GrowingFiles {
 public:
  GrowingFiles(std::string directory, const std::vector<WorldFile>& files)
      : directory_(std::move(directory)) {
    for (const WorldFile& file : files) written_.push_back({file.name, 0, 0});
  }

  absl::Status Open(const std::vector<WorldFile>& files) {
    for (const WorldFile& file : files) {
      const std::string path = directory_ + "/" + file.name;
      files_.emplace_back(std::fopen(path.c_str(), "wb"));
      if (files_.back() == nullptr) return WriteError(path);
      PAGODA_RETURN_IF_ERROR(Write(files_.size() - 1, file.header + "\n"));
    }
    return absl::OkStatus();
  }

  absl::Status Append(size_t file, const std::string& text) {
    written_[file].rows += std::count(text.begin(), text.end(), '\n');
    return Write(file, text);
  }

  absl::Status Close() {
    for (size_t i = 0; i < files_.size(); ++i) {
      if (std::fclose(files_[i].release()) != 0) return WriteError(PathOf(i));
    }
    return absl::OkStatus();
  }

  const std::vector<WrittenFile>& written() const { return written_; }

 private:
  std::string PathOf(size_t file) const { return directory_ + "/" + written_[file].name; }

  absl::Status Write(size_t file, const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), files_[file].get()) != text.size()) {
      return WriteError(PathOf(file));
    }
    written_[file].bytes += static_cast<int64_t>(text.size());
    return absl::OkStatus();
  }

  std::string directory_;
  std::vector<FilePointer> files_;
  std::vector<WrittenFile> written_;
};

std::string Number(double value) {
  if (std::isnan(value)) return "null";
  return value == std::floor(value) && std::fabs(value) < 1e15 ? absl::StrFormat("%.0f", value)
                                                               : absl::StrFormat("%.9g", value);
}

std::string Json(const WorldRun& run, const std::vector<WrittenFile>& files,
                 const WorldFacts& facts) {
  std::vector<std::string> knobs;
  for (const auto& [name, value] : run.knobs.all()) {
    knobs.push_back(absl::StrCat("    \"", name, "\": ", Number(value)));
  }
  std::vector<std::string> written;
  for (const WrittenFile& file : files) {
    written.push_back(absl::StrCat("    \"", file.name, "\": {\"rows\": ", file.rows,
                                   ", \"bytes\": ", file.bytes, "}"));
  }
  std::vector<std::string> figures;
  for (const auto& [name, value] : facts) {
    figures.push_back(absl::StrCat("    \"", name, "\": ", value));
  }
  return absl::StrCat("{\n  \"world\": \"", run.kind->name, "\",\n  \"seed\": ", run.knobs.seed(),
                      ",\n  \"variant\": \"", run.knobs.variant(), "\",\n  \"knobs\": {\n",
                      absl::StrJoin(knobs, ",\n"), "\n  },\n  \"files\": {\n",
                      absl::StrJoin(written, ",\n"), "\n  },\n  \"figures\": {\n",
                      absl::StrJoin(figures, ",\n"), "\n  }\n}\n");
}

absl::Status WriteUnits(const WorldRun& run, const World& world, GrowingFiles* files,
                        Figures* figures) {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  ThreadPool pool(run.threads > 0 ? run.threads : cores);
  const size_t num_files = world.files().size();
  struct Unit {
    std::vector<std::string> texts;
    UnitFigures figures;
  };
  for (int64_t first = 0; first < world.num_units(); first += run.at_once) {
    const int64_t count = std::min(run.at_once, world.num_units() - first);
    std::vector<Unit> units(static_cast<size_t>(count));
    pool.ParallelFor(count, [&](int64_t i) {
      Unit& unit = units[static_cast<size_t>(i)];
      unit.texts.resize(num_files);
      world.WriteUnit(first + i, &unit.texts, &unit.figures);
    });
    for (const Unit& unit : units) {
      for (size_t file = 0; file < num_files; ++file) {
        PAGODA_RETURN_IF_ERROR(files->Append(file, unit.texts[file]));
      }
      figures->Add(unit.figures);
    }
    if (run.progress) run.progress(first + count, world.num_units());
  }
  return absl::OkStatus();
}

absl::StatusOr<WrittenWorld> WriteInto(const WorldRun& run, const World& world) {
  GrowingFiles files(run.directory, world.files());
  PAGODA_RETURN_IF_ERROR(files.Open(world.files()));
  Figures figures(world.figures());
  PAGODA_RETURN_IF_ERROR(WriteUnits(run, world, &files, &figures));
  PAGODA_RETURN_IF_ERROR(files.Close());
  WorldFacts facts;
  for (size_t i = 0; i < figures.names().size(); ++i) {
    facts.push_back({figures.names()[i].name, Number(figures.At(static_cast<int>(i)))});
  }
  for (const auto& fact : world.Facts(figures)) facts.push_back(fact);
  WrittenWorld written{files.written(), Json(run, files.written(), facts)};
  PAGODA_RETURN_IF_ERROR(ReplaceFileDurably(run.directory + "/world.json", written.json));
  return written;
}

// Makes `directory`; true when it was not there before.
absl::StatusOr<bool> PrepareDirectory(const std::string& directory) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(directory, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    PAGODA_RETURN_IF_ERROR(MakeDirectories(directory));
    return true;
  }
  if (status.type() != std::filesystem::file_type::directory) {
    return absl::FailedPreconditionError(absl::StrCat(directory, " is not a directory"));
  }
  if (!std::filesystem::is_empty(directory, error) || error) {
    return absl::FailedPreconditionError(
        absl::StrCat(directory, error ? absl::StrCat(" cannot be read: ", error.message())
                                      : " is not empty: choose another directory or remove it"));
  }
  return false;
}

}  // namespace

absl::StatusOr<WrittenWorld> WriteWorld(const WorldRun& run) {
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<World> world, run.kind->make(run.knobs));
  PAGODA_ASSIGN_OR_RETURN(const bool made, PrepareDirectory(run.directory));
  absl::StatusOr<WrittenWorld> written = WriteInto(run, *world);
  if (written.ok()) return written;
  std::error_code ignored;  // The first error is the one to report.
  for (const WorldFile& file : world->files()) {
    std::filesystem::remove(run.directory + "/" + file.name, ignored);
  }
  for (const char* name : {"/world.json", "/world.json.tmp"}) {
    std::filesystem::remove(run.directory + name, ignored);
  }
  if (made) std::filesystem::remove(run.directory, ignored);
  return written;
}

}  // namespace pagoda

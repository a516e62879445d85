// Writes a generated Criteo-shaped log (criteo_log.h) for the benchmarks.
//
//   generate_criteo DIRECTORY [--samples N] [--ids N] [--seed N] [--tsv]
//
//   DIRECTORY/ids.npy      i64 [samples, 26]   in [0, num_ids[category])
//   DIRECTORY/dense.npy    f32 [samples, 13]   log(1 + counter)
//   DIRECTORY/labels.npy   f32 [samples]
//   DIRECTORY/num_ids.npy  i64 [26]
//   DIRECTORY/log.tsv      the same samples in the challenge's text format (--tsv)
//
// The directory must exist. Exits 1 with one line on standard error when it fails.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/benchmarks/criteo_log.h"
#include "tests/benchmarks/npy_file.h"

namespace pagoda {
namespace {

struct Arguments {
  std::string directory;
  int64_t samples = 256 * 4096;
  CriteoLogOptions log;
  bool tsv = false;
};

absl::StatusOr<Arguments> Parse(const std::vector<std::string>& words) {
  Arguments arguments;
  for (size_t i = 0; i < words.size(); ++i) {
    int64_t* number = nullptr;
    int64_t seed = 0;
    if (words[i] == "--tsv") {
      arguments.tsv = true;
      continue;
    }
    if (words[i] == "--samples") number = &arguments.samples;
    if (words[i] == "--ids") number = &arguments.log.num_ids;
    if (words[i] == "--seed") number = &seed;
    if (number != nullptr) {
      if (++i == words.size() || !absl::SimpleAtoi(words[i], number) || *number < 0) {
        return absl::InvalidArgumentError(absl::StrCat(words[i - 1], " needs a number"));
      }
      if (number == &seed) arguments.log.seed = static_cast<uint64_t>(seed);
    } else if (arguments.directory.empty() && words[i][0] != '-') {
      arguments.directory = words[i];
    } else {
      return absl::InvalidArgumentError(absl::StrCat("unknown argument ", words[i]));
    }
  }
  if (arguments.directory.empty() || arguments.log.num_ids < kLogCategories) {
    return absl::InvalidArgumentError(
        "usage: generate_criteo DIRECTORY [--samples N] [--ids N] [--seed N] [--tsv]");
  }
  return arguments;
}

absl::Status WriteArrays(const Arguments& arguments, const CriteoLog& log) {
  std::vector<int64_t> ids;
  std::vector<float> dense, labels;
  for (int64_t i = 0; i < arguments.samples; ++i) {
    const CriteoLog::Sample sample = log.Get(i);
    ids.insert(ids.end(), sample.ids.begin(), sample.ids.end());
    for (int64_t counter : sample.counters) {
      dense.push_back(std::log1p(static_cast<float>(counter)));
    }
    labels.push_back(sample.label);
  }
  const std::string prefix = arguments.directory + "/";
  PAGODA_RETURN_IF_ERROR(
      WriteNpy(prefix + "ids.npy", {arguments.samples, kLogCategories}, ids.data()));
  PAGODA_RETURN_IF_ERROR(
      WriteNpy(prefix + "dense.npy", {arguments.samples, kLogCounters}, dense.data()));
  PAGODA_RETURN_IF_ERROR(WriteNpy(prefix + "labels.npy", {arguments.samples}, labels.data()));
  return WriteNpy(prefix + "num_ids.npy", {kLogCategories}, log.num_ids().data());
}

absl::Status WriteTsv(const Arguments& arguments, const CriteoLog& log) {
  const std::string path = arguments.directory + "/log.tsv";
  std::FILE* file = std::fopen(path.c_str(), "wb");
  bool ok = file != nullptr;
  for (int64_t i = 0; ok && i < arguments.samples; ++i) {
    const std::string line = log.TsvLine(i);
    ok = std::fwrite(line.data(), 1, line.size(), file) == line.size();
  }
  if (file != nullptr) ok = std::fclose(file) == 0 && ok;
  if (ok) return absl::OkStatus();
  return absl::UnknownError(absl::StrCat(path, ": cannot write: ", std::strerror(errno)));
}

absl::Status Run(const std::vector<std::string>& words) {
  PAGODA_ASSIGN_OR_RETURN(const Arguments arguments, Parse(words));
  const CriteoLog log(arguments.log);
  PAGODA_RETURN_IF_ERROR(WriteArrays(arguments, log));
  if (arguments.tsv) PAGODA_RETURN_IF_ERROR(WriteTsv(arguments, log));
  return absl::OkStatus();
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  const absl::Status status = pagoda::Run(std::vector<std::string>(argv + 1, argv + argc));
  if (!status.ok()) std::fprintf(stderr, "generate_criteo: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

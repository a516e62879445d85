// How fast data files become batches: a generated Criteo-shaped log (13 numbers, 26
// hashed categories) read and parsed, plain, gzip and zstd, by 1 and 2 threads.
//
//   reader_bench [rows]     default 400,000 (about 100 MB)
//
// Prints the median of three runs, and a hash of all batches, which is the same on
// every line: neither the compression nor the threads change a batch.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/hash.h"
#include "base/random.h"
#include "worker/batch_reader.h"
#include "worker/criteo_format.h"

namespace pagoda {
namespace {

std::string CriteoText(int64_t rows) {
  std::string text;
  const RandomKey key{17};
  for (int64_t i = 0; i < rows; ++i) {
    const RandomKey row = key.Derive(static_cast<uint64_t>(i));
    absl::StrAppend(&text, RandomBelow(row, 0, 4) == 0 ? 1 : 0);
    for (uint64_t c = 1; c <= kCriteoIntegers; ++c) {
      text += '\t';
      if (RandomBelow(row, c, 5) > 0) absl::StrAppend(&text, RandomBelow(row, 100 + c, 3000));
    }
    for (uint64_t c = 1; c <= kCriteoCategories; ++c) {
      const uint64_t value = RandomBelow(row, 200 + c, 100000) + 1000000 * c;
      absl::StrAppendFormat(&text, "\t%08x", MixBits(value) & 0xffffffff);
    }
    text += '\n';
  }
  return text;
}

FeatureSchema CriteoSchema() {
  FeatureSchema schema;
  schema.label = "label";
  for (const std::string& column : CriteoColumns(/*with_label=*/false)) {
    FeatureSpec spec;
    spec.name = column;
    spec.kind = column[0] == 'I' ? FeatureKind::kNumeric : FeatureKind::kCategorical;
    spec.transform.log = true;
    schema.features.push_back(spec);
  }
  return schema;
}

uint64_t HashBatch(const Batch& batch, uint64_t hash) {
  const auto mix = [&](const void* bytes, size_t size) {
    hash = HashBytes(absl::string_view(static_cast<const char*>(bytes), size), hash);
  };
  for (const RaggedIds& ids : batch.sparse) mix(ids.ids.data(), ids.ids.size() * sizeof(FeatureId));
  mix(batch.dense.data(), batch.dense.size() * sizeof(float));
  mix(batch.labels.data(), batch.labels.size() * sizeof(float));
  return hash;
}

struct Run {
  double seconds = 0.0;
  double cpu_seconds = 0.0;  // All threads.
  uint64_t hash = 0;
  int64_t rows = 0;
};

double CpuSeconds() {
  struct rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Run ReadOnce(const ReaderOptions& options) {
  Run run;
  const double cpu_begin = CpuSeconds();
  const auto begin = std::chrono::steady_clock::now();
  auto reader = BatchReader::Open(options);
  while (reader.ok()) {
    auto batch = (*reader)->Next();
    if (!batch.ok()) {
      std::fprintf(stderr, "%s\n", batch.status().ToString().c_str());
      std::exit(1);
    }
    if (!batch->has_value()) break;
    run.rows += (*batch)->size;
    run.hash = HashBatch(**batch, run.hash);
  }
  run.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  run.cpu_seconds = CpuSeconds() - cpu_begin;
  return run;
}

void Report(const std::string& name, const std::string& path, int threads, int64_t shuffle_rows,
            size_t text_bytes) {
  ReaderOptions options;
  options.data.files = {path};
  options.data.format = "criteo";
  options.data.shuffle_rows = shuffle_rows;
  options.schema = CriteoSchema();
  options.batch_size = 4096;
  options.num_parse_threads = threads;
  std::vector<Run> runs;
  for (int i = 0; i < 3; ++i) runs.push_back(ReadOnce(options));
  std::sort(runs.begin(), runs.end(),
            [](const Run& a, const Run& b) { return a.seconds < b.seconds; });
  const Run& median = runs[1];
  std::printf(
      "%-16s %d parse thread%s  %7.0f krows/s  %6.0f MB/s  %5.0f ns CPU/row  hash %016llx\n",
      name.c_str(), threads, threads == 1 ? " " : "s",
      static_cast<double>(median.rows) / median.seconds / 1e3,
      static_cast<double>(text_bytes) / median.seconds / 1e6,
      1e9 * median.cpu_seconds / static_cast<double>(std::max<int64_t>(1, median.rows)),
      static_cast<unsigned long long>(median.hash));
}

int Main(int argc, char** argv) {
  const int64_t rows = argc > 1 ? std::atoll(argv[1]) : 400000;
  const std::string text = CriteoText(rows);
  const std::string folder =
      (std::filesystem::temp_directory_path() / absl::StrCat("pagoda_reader_bench_", getpid()))
          .string();
  std::filesystem::create_directories(folder);
  const std::string path = folder + "/log.tsv";
  std::ofstream(path, std::ios::binary) << text;
  std::printf("%lld rows, %.0f bytes each\n", static_cast<long long>(rows),
              static_cast<double>(text.size()) / static_cast<double>(std::max<int64_t>(1, rows)));
  for (const int threads : {1, 2}) Report("plain", path, threads, 0, text.size());
  for (const std::string tool : {"gzip -1", "zstd -q -1"}) {
    const std::string packed = folder + (tool[0] == 'g' ? "/log.gz" : "/log.zst");
    if (std::system(absl::StrCat(tool, " < ", path, " > ", packed).c_str()) != 0) continue;
    Report(tool.substr(0, 4), packed, 2, 0, text.size());
  }
  for (const int threads : {1, 2}) Report("plain, shuffled", path, threads, 100000, text.size());
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  return pagoda::Main(argc, argv);
}

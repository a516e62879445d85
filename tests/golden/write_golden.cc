// Writes a folder of golden files (README.md):   write_golden tests/golden/vN
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "embedding_store/delta_export.h"
#include "embedding_store/embedding_store.h"
#include "tests/golden/golden_content.h"
#include "worker/job_cut.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

TableOptions Table(const std::string& name, int64_t dim, SparseOptimizerKind kind) {
  TableOptions table;
  table.name = name;
  table.dim = dim;
  table.seed = 5;
  table.init_stddev = 0.5f;
  table.optimizer.kind = kind;
  table.optimizer.learning_rate = 0.5f;
  table.optimizer.initial_accumulator = 0.25f;
  return table;
}

// One of each kind that has bytes of its own.
std::vector<TableOptions> Tables() {
  using Kind = SparseOptimizerKind;
  std::vector<TableOptions> tables = {
      Table("user", 2, Kind::kAdagrad),  Table("item's name", 3, Kind::kAdam),
      Table("word", 1, Kind::kFtrl),     Table("city", 2, Kind::kRowwiseAdagrad),
      Table("zip", 4, Kind::kSgd),       Table("f16", 3, Kind::kAdagrad),
      Table("bf16", 2, Kind::kAdam),     Table("int8", 5, Kind::kRowwiseAdagrad),
      Table("exact", 2, Kind::kMomentum)};
  tables[5].precision = RowPrecision::kF16;
  tables[6].precision = RowPrecision::kBF16;
  tables[7].precision = RowPrecision::kInt8;
  tables[8].optimizer.exact = true;
  tables[8].optimizer.weight_decay = 0.25f;
  tables.push_back(Table("grown", 2, Kind::kSgd));
  tables.push_back(Table("admits", 2, Kind::kAdagrad));
  tables.back().admission.kind = AdmissionKind::kFrequency;
  tables.back().admission.count = 2;
  tables.back().admission.sketch_mib = 1;
  return tables;
}

// Push `number` touches one row more than the one before.
void Push(EmbeddingStore& store, int number) {
  std::vector<FeatureId> ids = {42, ~FeatureId{0}};
  for (int i = 0; i < number; ++i) ids.push_back(static_cast<FeatureId>(1000 + i));
  std::vector<std::vector<float>> gradients;
  std::vector<StorePush> pushes;
  const std::vector<TableOptions> tables = store.tables();
  for (const TableOptions& table : tables) {
    std::vector<float>& g = gradients.emplace_back();
    for (size_t i = 0; i < ids.size() * static_cast<size_t>(table.dim); ++i) {
      g.push_back(0.25f * static_cast<float>(static_cast<int>(i % 7) - 3) +
                  static_cast<float>(number));
    }
  }
  for (uint32_t t = 0; t < tables.size(); ++t) pushes.push_back({t, ids, gradients[t]});
  const PushOrigin origin{7, 1, static_cast<uint64_t>(number)};
  Require(number % 2 == 0 ? store.Push(pushes, 100 + number, 1.0f)
                          : store.PushOnce(origin, pushes, 100 + number, 1.0f));
}

std::unique_ptr<EmbeddingStore> Open(const std::string& path, bool read_only) {
  StoreOptions options;
  options.path = path;
  options.memory_bytes = int64_t{16} << 20;
  options.read_only = read_only;
  auto store = EmbeddingStore::Open(options);
  Require(store.status());
  return *std::move(store);
}

void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

void WriteStoreAndCut(const std::string& out, const std::string& scratch) {
  auto store = Open(scratch + "/store", false);
  for (const TableOptions& table : Tables()) Require(store->OpenTable(table).status());
  Push(*store, 1);
  Require(store->OpenTable(Table("grown", 2, SparseOptimizerKind::kAdagrad)).status());
  Push(*store, 2);
  Require(store->Cut(out + "/cut").status());
  WriteText(out + "/cut_rows.txt", RowsText(*store));
  Push(*store, 3);
  Push(*store, 4);
  WriteText(out + "/store_rows.txt", RowsText(*store));
  // As a kill leaves it: the last pushes are in the log alone.
  fs::copy(scratch + "/store", out + "/store", fs::copy_options::recursive);
  fs::remove(out + "/store/LOCK");
  Require(store->Cut(scratch + "/later").status());
  DeltaExport delta;
  delta.since = {out + "/cut"};
  delta.cut = {scratch + "/later"};
  delta.directory = out + "/delta";
  Require(ExportDelta(delta).status());
  const auto text = DeltaText(delta.directory);
  Require(text.status());
  WriteText(out + "/delta_rows.txt", *text);
}

void WriteJob(const std::string& out) {
  JobCut cut;
  cut.manifest.set_job("golden");
  cut.manifest.set_model("deepfm");
  cut.manifest.set_cut(CutName(40, 2));
  cut.manifest.set_seed(7);
  cut.manifest.set_epoch(2);
  cut.manifest.set_step(40);
  cut.manifest.set_mode("sync");
  cut.manifest.set_batch_size(256);
  cut.manifest.set_samples(10240);
  proto::JobCut::Server* server = cut.manifest.add_servers();
  server->set_address("embedded");
  server->set_directory("/data/server-0/cuts/step-000000040.epoch2");
  server->set_sequence(41);
  server->set_rows(99);
  server->set_checksum(0x0123456789abcdef);
  proto::JobCut::Position* position = cut.manifest.add_positions();
  position->set_epoch(1);
  position->set_global_sample(10240);
  cut.values = {1.5f, -2.0f, 0.1f};
  cut.slots = {{4.0f, 5.0f}, {6.0f, 7.0f}};
  cut.job_text = "[job]\nname = \"golden\"\n";
  fs::create_directories(out + "/job_cut");
  Require(WriteJobCut(out + "/job_cut", cut));
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_golden DIRECTORY   (which must not exist)\n");
    return 2;
  }
  const std::string out = argv[1];
  if (std::filesystem::exists(out)) {
    std::fprintf(stderr, "%s exists: golden files are never written again\n", argv[1]);
    return 1;
  }
  const std::string scratch = out + ".scratch";
  std::filesystem::create_directories(out);
  pagoda::WriteStoreAndCut(out, scratch);
  pagoda::WriteJob(out);
  std::filesystem::remove_all(scratch);
  return 0;
}

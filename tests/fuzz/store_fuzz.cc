#include "tests/fuzz/store_fuzz.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "embedding_store/client_windows.h"
#include "embedding_store/count_min_sketch.h"
#include "embedding_store/exact_steps.h"
#include "embedding_store/push_record.h"
#include "embedding_store/row_format.h"
#include "embedding_store/shard_checkpoint.h"
#include "embedding_store/table_registry.h"
#include "embedding_store/table_state.h"

namespace pagoda {
namespace {

// Exact copies, aligned to 8 bytes as a segment in memory is.
class Aligned {
 public:
  explicit Aligned(absl::string_view bytes)
      : words_(new uint64_t[bytes.size() / 8 + 1]), size_(bytes.size()) {
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(words_.get()));
  }
  absl::string_view view() const { return {reinterpret_cast<const char*>(words_.get()), size_}; }

 private:
  std::unique_ptr<uint64_t[]> words_;
  size_t size_;
};

absl::string_view View(const uint8_t* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

std::string BytesOf(const PushRecord& record) {
  const EncodedRecord encoded(record);
  std::string bytes;
  for (absl::string_view piece : encoded.pieces()) bytes.append(piece.data(), piece.size());
  PAGODA_CHECK(static_cast<int64_t>(bytes.size()) == encoded.bytes());
  return bytes;
}

// A record that was taken comes back from its own bytes.
void CheckRecord(const PushRecord& record) {
  const std::string bytes = BytesOf(record);
  const Aligned copy(bytes);
  const RecordFrame frame = ReadRecordFrame(copy.view());
  PAGODA_CHECK(frame.state == RecordFrame::State::kComplete);
  PAGODA_CHECK(frame.record_bytes == static_cast<int64_t>(bytes.size()));
  PushRecord back;
  PAGODA_CHECK(DecodePushRecord(frame, &back).ok());
  PAGODA_CHECK(BytesOf(back) == bytes);
}

constexpr uint64_t kUntouched = 0x5a5a5a5a5a5a5a5a;

// One file, read from memory; nothing else works.
class OneFile final : public FileSystem {
 public:
  OneFile(std::string path, std::string content)
      : path_(std::move(path)), content_(std::move(content)) {}

  absl::StatusOr<std::unique_ptr<ReadFile>> OpenRead(const std::string& path) override {
    if (path != path_) return absl::NotFoundError(path);
    return std::unique_ptr<ReadFile>(new Content(content_));
  }
  absl::StatusOr<std::unique_ptr<AppendFile>> Create(const std::string&) override { return No(); }
  absl::StatusOr<std::unique_ptr<AppendFile>> OpenAppend(const std::string&) override {
    return No();
  }
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string&, bool) override { return No(); }
  absl::Status Rename(const std::string&, const std::string&) override { return No(); }
  absl::Status Link(const std::string&, const std::string&) override { return No(); }
  absl::Status Remove(const std::string&) override { return No(); }
  absl::Status CreateDirectory(const std::string&) override { return No(); }
  absl::Status RemoveDirectory(const std::string&) override { return No(); }
  absl::Status SyncDirectory(const std::string&) override { return No(); }
  absl::StatusOr<bool> Exists(const std::string& path) override { return path == path_; }
  absl::StatusOr<std::vector<std::string>> List(const std::string&) override { return No(); }

 private:
  class Content final : public ReadFile {
   public:
    explicit Content(const std::string& content) : content_(content) {}
    int64_t size() const override { return static_cast<int64_t>(content_.size()); }
    absl::StatusOr<std::string> ReadAt(int64_t offset, int64_t count) override {
      return content_.substr(static_cast<size_t>(offset), static_cast<size_t>(count));
    }

   private:
    const std::string& content_;
  };
  static absl::Status No() { return absl::UnimplementedError("only for reading"); }

  const std::string path_;
  const std::string content_;
};

}  // namespace

void FuzzLogRecord(const uint8_t* bytes, size_t size) {
  if (size < 1) return;
  const Aligned rest(View(bytes + 1, size - 1));
  PushRecord record;
  const RecordFrame framed = ReadRecordFrame(rest.view());
  if (framed.state == RecordFrame::State::kComplete) {
    PAGODA_CHECK(framed.record_bytes <= static_cast<int64_t>(rest.view().size()));
    if (DecodePushRecord(framed, &record).ok()) CheckRecord(record);
  }
  RecordFrame frame;
  frame.state = RecordFrame::State::kComplete;
  frame.sequence = 7;
  frame.version = 1 + bytes[0] % 3;
  frame.payload = rest.view();
  if (DecodePushRecord(frame, &record).ok()) {
    if (frame.version < 3) {
      PAGODA_CHECK((record.origin.sequence != 0) == (frame.version == 2));
    }
    CheckRecord(record);
  }
  ClientWindows windows;
  if (windows.Decode(rest.view()).ok()) {
    PAGODA_CHECK(windows.Encode() == rest.view());
  } else {
    PAGODA_CHECK(windows.size() == 0);
  }
}

void FuzzTableState(const uint8_t* bytes, size_t size) {
  const absl::string_view state = View(bytes, size);
  TableCounters counters;
  if (DecodeTableCounters(state, &counters).ok()) {
    PAGODA_CHECK(EncodeTableCounters(counters) == state);
  }
  if (size < 2) return;
  // The first bytes choose the width and the page.
  static CountMinSketch sketches[] = {CountMinSketch(1), CountMinSketch(3)};
  CountMinSketch& sketch = sketches[bytes[0] % 2];
  const uint32_t page = bytes[1] * 4u + bytes[0] / 64u;
  if (!sketch.DecodePage(page, state.substr(2)).ok()) return;
  PAGODA_CHECK(sketch.EncodePage(page) == state.substr(2));
  // Whatever was loaded, an id counted once more is not estimated lower.
  const FeatureId id = bytes[0];
  const uint32_t before = sketch.Estimate(id, 7);
  sketch.Count({&id, 1}, 7, ~uint64_t{0});
  PAGODA_CHECK(sketch.Estimate(id, 7) >= before);
}

void FuzzRegistry(const uint8_t* bytes, size_t size) {
  const std::string text = WithChecksumLine(std::string(View(bytes, size)));
  const auto tables = ParseTableRegistry(text, "fuzzed");
  if (!tables.ok()) return;
  const std::string again = FormatTableRegistry(*tables);
  const auto back = ParseTableRegistry(again, "formatted");
  PAGODA_CHECK(back.ok());
  PAGODA_CHECK(FormatTableRegistry(*back) == again);
}

void FuzzCutManifest(const uint8_t* bytes, size_t size) {
  OneFile files("cut/MANIFEST", WithChecksumLine(std::string(View(bytes, size))));
  const auto cut = ReadShardCut(&files, "cut", CutFiles::kAll);
  const auto again = ReadShardCut(&files, "cut", CutFiles::kAll);
  PAGODA_CHECK(cut.status() == again.status());
  if (cut.ok()) PAGODA_CHECK(cut->sequence == again->sequence && cut->rows == again->rows);
}

void FuzzRowKey(const uint8_t* bytes, size_t size) {
  RowKey key;
  if (!DecodeRowKey(View(bytes, size), &key)) return;
  PAGODA_CHECK(size == kRowKeyBytes);
  char back[kRowKeyBytes];
  EncodeRowKey(key, back);
  PAGODA_CHECK(std::memcmp(back, bytes, kRowKeyBytes) == 0);
}

void FuzzRowValue(const uint8_t* bytes, size_t size) {
  if (size < 3) return;
  TableOptions table;
  table.dim = 1 + bytes[0] % 40;
  table.optimizer.kind = static_cast<SparseOptimizerKind>(bytes[1] % 10);
  table.precision = static_cast<RowPrecision>(bytes[2] % 4);
  const RowShape shape = ShapeOf(table);
  const std::string value(View(bytes + 3, size - 3));
  // One word more, which nothing may touch.
  std::vector<uint64_t> words(shape.row_bytes() / 8 + 2, kUntouched);
  char* const row = reinterpret_cast<char*>(words.data());
  const char* const error = DecodeRowValue(shape, value, row);
  PAGODA_CHECK(words.back() == kUntouched);
  if (error != nullptr) return;
  // Weights that are int8 on disk may be any bytes; once on their grid they stay.
  if (shape.int8_on_disk) RoundToInt8(FloatsOf(row), shape.dim, RandomKey{1});
  std::string again(shape.value_bytes_max(), 'x');
  again.resize(EncodeRowValue(shape, row, again.data()));
  if (value[0] == kRowVersion) PAGODA_CHECK(again == value);
  std::vector<uint64_t> back(words.size(), kUntouched);
  PAGODA_CHECK(DecodeRowValue(shape, again, reinterpret_cast<char*>(back.data())) == nullptr);
  PAGODA_CHECK(std::memcmp(back.data(), row, shape.row_bytes()) == 0);
}

void FuzzTableSteps(const uint8_t* bytes, size_t size) {
  const absl::string_view steps = View(bytes, size);
  const auto split = SplitTableSteps(steps);
  StepsOfCut cut;
  cut.directory = "cut";
  for (const char* name : {"a", "b", "c"}) {
    cut.tables.emplace_back();
    cut.tables.back().name = name;
    cut.tables.back().dim = 1;
    cut.tables.back().optimizer.exact = *name != 'b';
  }
  cut.bytes = std::string(steps);
  (void)MergeTableSteps({&cut, 1}, cut.tables);
  if (!split.ok()) return;
  std::string again;
  for (const TableSteps& one : *split) AppendTableSteps(one, &again);
  PAGODA_CHECK(again == steps);
}

}  // namespace pagoda

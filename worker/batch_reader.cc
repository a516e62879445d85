#include "worker/batch_reader.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "worker/batch_cutter.h"
#include "worker/data_columns.h"
#include "worker/feature_transform.h"
#include "worker/file_glob.h"
#include "worker/libsvm_format.h"
#include "worker/shuffle_window.h"
#include "worker/side_files.h"

namespace pagoda {
namespace {

// Windows read while the one before is handed out. One hides the reading; each
// costs a window of memory.
constexpr size_t kWindowsAhead = 1;
// Without shuffling a window is only a unit of reading: some batches, at least so
// many rows.
constexpr int64_t kUnshuffledRows = 1024;
// Skipped rows named in the log; the others are only counted.
constexpr int64_t kBadRowsLogged = 5;

// Shuffled rows lie all over their window, so each is fetched into the cache while the
// ones before it are parsed.
constexpr size_t kRowsPrefetched = 3;

// Inlined at any rate: GCC takes it for a function without effect, and would drop the call.
[[gnu::always_inline]] inline void Prefetch(const RawRow& row) {
  constexpr uint32_t kCacheLine = 64;
  constexpr uint32_t kBytes = 1024;  // A longer row is left to the hardware from there on.
  for (uint32_t at = 0; at < std::min(row.size, kBytes); at += kCacheLine) {
    __builtin_prefetch(row.text + at);
  }
}

// What became of one RawBatch.
struct ParsedBatch {
  absl::Status status;         // The reader ends with it.
  std::optional<Batch> batch;  // nullopt without an error: the end.
  CutPosition after;
  double progress = 0.0;
  std::vector<std::string> bad_rows;  // Messages of the skipped rows.
};

ReaderPosition ToReaderPosition(const CutPosition& cut, int64_t bad_rows) {
  ReaderPosition position;
  position.epoch = cut.start.epoch;
  position.window = cut.start.window;
  position.window_file = cut.start.place.file;
  position.window_byte = cut.start.place.byte;
  position.window_line = cut.start.place.line;
  position.window_row = cut.start.row;
  position.window_file_row = cut.start.place.row;
  position.row_in_window = cut.row_in_window;
  position.global_sample = cut.global_sample;
  position.bad_rows = bad_rows;
  return position;
}

CutPosition ToCutPosition(const ReaderPosition& position) {
  CutPosition cut;
  cut.start.epoch = position.epoch;
  cut.start.window = position.window;
  cut.start.place = LinePosition{position.window_file, position.window_byte, position.window_line,
                                 position.window_file_row};
  cut.start.row = position.window_row;
  cut.row_in_window = position.row_in_window;
  cut.global_sample = position.global_sample;
  return cut;
}

absl::Status CheckOptions(const ReaderOptions& options) {
  const DataOptions& data = options.data;
  const auto refuse = [](auto... words) {
    return absl::InvalidArgumentError(absl::StrCat(words...));
  };
  if (options.batch_size < 1) return refuse("batch_size must be at least 1");
  if (options.num_workers < 1 || options.rank < 0 || options.rank >= options.num_workers) {
    return refuse("rank ", options.rank, " is not one of ", options.num_workers, " workers");
  }
  if (options.epochs < 0) return refuse("epochs must not be negative");
  if (options.num_parse_threads < 1) return refuse("the reader needs at least 1 thread");
  if (options.batches_ahead < 1) return refuse("batches_ahead must be at least 1");
  if (data.shuffle_rows < 0 || data.shuffle_rows > kWindowRowsMax) {
    return refuse("shuffle_rows must be between 0 and ", kWindowRowsMax);
  }
  if (data.skip_lines < 0) return refuse("skip_lines must not be negative");
  if (data.bad_rows_max < 0) return refuse("bad_rows_max must not be negative");
  if (data.on_bad_row != "fail" && data.on_bad_row != "skip") {
    return refuse("on_bad_row must be fail or skip, not '", data.on_bad_row, "'");
  }
  if (data.sharding != "rows" && data.sharding != "files") {
    return refuse("sharding must be rows or files, not '", data.sharding, "'");
  }
  if (!(data.split_begin >= 0.0 && data.split_begin < data.split_end && data.split_end <= 1.0)) {
    return refuse("split must be two numbers, 0 <= begin < end <= 1, not ", data.split_begin,
                  " and ", data.split_end);
  }
  return absl::OkStatus();
}

bool OwnFiles(const ReaderOptions& options) {
  return options.data.sharding == "files" && !options.round_robin_batches;
}

WindowOptions WindowOptionsOf(const ReaderOptions& options) {
  const DataOptions& data = options.data;
  WindowOptions window;
  window.lines = LineOptionsOf(data);
  if (OwnFiles(options)) {
    window.lines.first_file = options.rank;
    window.lines.file_stride = options.num_workers;
  }
  window.shuffle = data.shuffle_rows > 0;
  const int64_t batches = std::max<int64_t>(1, kUnshuffledRows / options.batch_size);
  window.rows =
      window.shuffle ? data.shuffle_rows : std::min(kWindowRowsMax, options.batch_size * batches);
  window.seed = data.seed;
  window.split_begin = data.split_begin;
  window.split_end = data.split_end;
  window.split_seed = data.split_seed;
  return window;
}

CutterOptions CutterOptionsOf(const ReaderOptions& options) {
  CutterOptions cutter;
  cutter.batch_size = options.batch_size;
  cutter.rank = options.rank;
  cutter.num_workers = options.num_workers;
  cutter.share = options.round_robin_batches ? BatchShare::kRoundRobin
                 : OwnFiles(options)         ? BatchShare::kWhole
                                             : BatchShare::kSlice;
  cutter.epochs = options.epochs;
  cutter.drop_last = options.drop_last;
  cutter.whole = options.whole_batches;
  return cutter;
}

// Threads: one reads windows; each parse thread in turn takes the next RawBatch (under
// cut_mutex_) and parses it on its own; Next hands the results out in order.
class ThreadedReader : public BatchReader {
 public:
  ThreadedReader(const ReaderOptions& options, std::vector<std::string> files, DataColumns columns,
                 FeatureTransform transform, const ReaderPosition& start)
      : options_(options),
        files_(std::make_shared<const std::vector<std::string>>(files)),
        parser_(std::move(columns.parser)),
        transform_(std::move(transform)),
        windows_(std::move(files), WindowOptionsOf(options)),
        cutter_(CutterOptionsOf(options), ToCutPosition(start), [this] { return TakeWindow(); }),
        position_(start) {}

  absl::Status Start(const ReaderPosition& start) {
    // A default position is the beginning, whichever file this worker begins with.
    const bool beginning = start.window == 0 && start.window_row == 0 && start.row_in_window == 0;
    const WindowStart at =
        beginning ? windows_.EpochStart(start.epoch) : ToCutPosition(start).start;
    PAGODA_RETURN_IF_ERROR(windows_.Seek(at));
    if (start.epoch < options_.epochs) {
      threads_.emplace_back([this] { ReadWindows(); });
    } else {
      progress_ = 1.0;
    }
    for (int i = 0; i < options_.num_parse_threads; ++i) {
      threads_.emplace_back([this] { ParseBatches(); });
    }
    return absl::OkStatus();
  }

  ~ThreadedReader() override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  absl::StatusOr<std::optional<Batch>> Next() override {
    if (!failed_.ok()) return failed_;
    ParsedBatch parsed;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return parsed_.count(num_delivered_) > 0; });
      const auto found = parsed_.find(num_delivered_);
      if (found->second.status.ok() && !found->second.batch.has_value()) {
        return std::optional<Batch>();  // The end stays where it is.
      }
      parsed = std::move(found->second);
      parsed_.erase(found);
      ++num_delivered_;
    }
    changed_.notify_all();
    CountBadRows(&parsed);
    if (!parsed.status.ok()) {
      failed_ = parsed.status;
      return failed_;
    }
    position_ = ToReaderPosition(parsed.after, position_.bad_rows);
    progress_ = std::max(progress_, parsed.progress);
    return std::move(parsed.batch);
  }

  ReaderPosition position() const override { return position_; }
  int64_t bad_rows() const override { return position_.bad_rows; }
  double progress() const override { return progress_; }

 private:
  void CountBadRows(ParsedBatch* parsed) {
    for (const std::string& message : parsed->bad_rows) {
      ++position_.bad_rows;
      if (position_.bad_rows > options_.data.bad_rows_max) {
        parsed->status = absl::InvalidArgumentError(absl::StrCat(
            message, " (and it is one more than bad_rows_max = ", options_.data.bad_rows_max,
            " bad rows)"));
        return;
      }
      if (bad_rows_logged_++ < kBadRowsLogged) PAGODA_LOG_WARNING("skipped a row: {}", message);
    }
  }

  // The thread that reads.
  void ReadWindows() {
    for (bool more = true; more;) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return stop_ || ahead_.size() < kWindowsAhead; });
        if (stop_) return;
      }
      absl::StatusOr<std::shared_ptr<const Window>> window = windows_.Next();
      more = window.ok() && !((*window)->last && (*window)->start.epoch + 1 >= options_.epochs);
      {
        std::lock_guard<std::mutex> lock(mutex_);
        ahead_.push_back(std::move(window));
      }
      changed_.notify_all();
    }
  }

  // For the cutter. An error stays at the head of the queue.
  absl::StatusOr<std::shared_ptr<const Window>> TakeWindow() {
    absl::StatusOr<std::shared_ptr<const Window>> window = absl::CancelledError("reader closed");
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || !ahead_.empty(); });
      if (stop_) return window;
      window = ahead_.front();
      if (window.ok()) ahead_.pop_front();
    }
    changed_.notify_all();
    return window;
  }

  // Each of the threads that parse.
  void ParseBatches() {
    RowCells cells;
    for (;;) {
      int64_t number = 0;
      absl::StatusOr<std::optional<RawBatch>> raw = std::optional<RawBatch>();
      {
        std::lock_guard<std::mutex> cut(cut_mutex_);
        if (!WaitForRoom()) return;
        raw = cutter_.Next();
        number = num_cut_++;
        if (!raw.ok() || !raw->has_value()) cut_all_ = true;
      }
      ParsedBatch parsed;
      if (!raw.ok()) {
        parsed.status = raw.status();
      } else if (raw->has_value()) {
        parsed = Parse(**raw, &cells);
      }
      {
        std::lock_guard<std::mutex> lock(mutex_);
        parsed_[number] = std::move(parsed);
      }
      changed_.notify_all();
    }
  }

  // false: nothing is left to cut. REQUIRES: cut_mutex_ is held.
  bool WaitForRoom() {
    if (cut_all_) return false;
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock,
                  [this] { return stop_ || num_cut_ < num_delivered_ + options_.batches_ahead; });
    return !stop_;
  }

  ParsedBatch Parse(const RawBatch& raw, RowCells* cells) const {
    ParsedBatch parsed;
    parsed.after = raw.after;
    parsed.progress = raw.progress;
    Batch batch = transform_.NewBatch(static_cast<int64_t>(raw.rows.size()));
    batch.first_sample = raw.first_sample;
    batch.global_first_sample = raw.global_first_sample;
    batch.files = files_;
    for (size_t i = 0; i < raw.rows.size(); ++i) {
      if (i + kRowsPrefetched < raw.rows.size()) Prefetch(raw.rows[i + kRowsPrefetched]);
      const RawRow& row = raw.rows[i];
      RowError error;
      if (AppendRow(row, cells, &batch, &error)) continue;
      std::string message = absl::StrCat((*files_)[static_cast<size_t>(row.file)], ":", row.line,
                                         ":", error.column, ": ", error.message);
      if (options_.data.on_bad_row == "fail") {
        parsed.status = absl::InvalidArgumentError(message);
        return parsed;
      }
      parsed.bad_rows.push_back(std::move(message));
    }
    parsed.status = transform_.Finish(&batch);
    if (parsed.status.ok() && !raw.whole.empty()) parsed.status = AddWhole(raw, cells, &batch);
    parsed.batch = std::move(batch);
    return parsed;
  }

  absl::Status AddWhole(const RawBatch& raw, RowCells* cells, Batch* batch) const {
    auto whole =
        std::make_shared<Batch>(transform_.NewBatch(static_cast<int64_t>(raw.whole.size())));
    whole->first_sample = whole->global_first_sample = raw.global_first_sample;
    whole->files = files_;
    for (size_t i = 0; i < raw.whole.size(); ++i) {
      if (static_cast<int64_t>(i) == raw.first_of_whole) batch->first_of_whole = whole->size;
      RowError error;
      AppendRow(raw.whole[i], cells, whole.get(), &error);
    }
    PAGODA_RETURN_IF_ERROR(transform_.Finish(whole.get()));
    batch->whole = std::move(whole);
    return absl::OkStatus();
  }

  bool AppendRow(const RawRow& row, RowCells* cells, Batch* batch, RowError* error) const {
    if (row.too_long) {
      error->message = absl::StrCat("the line is longer than ", kLineBytesMax, " bytes");
      return false;
    }
    return parser_->Parse(row.view(), cells, error) &&
           transform_.AppendRow(*cells, SampleOrigin{row.file, row.line}, batch, error);
  }

  const ReaderOptions options_;
  const std::shared_ptr<const std::vector<std::string>> files_;
  const std::unique_ptr<RowParser> parser_;
  const FeatureTransform transform_;
  WindowReader windows_;  // The reading thread's alone, once started.

  std::mutex cut_mutex_;  // Taken before mutex_. Guards the next three.
  BatchCutter cutter_;
  int64_t num_cut_ = 0;
  bool cut_all_ = false;

  std::mutex mutex_;  // Guards the next four.
  std::condition_variable changed_;
  std::deque<absl::StatusOr<std::shared_ptr<const Window>>> ahead_;
  std::map<int64_t, ParsedBatch> parsed_;  // By number of the batch.
  int64_t num_delivered_ = 0;
  bool stop_ = false;

  // The caller's thread alone.
  absl::Status failed_;
  ReaderPosition position_;
  double progress_ = 0.0;
  int64_t bad_rows_logged_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BatchReader>> BatchReader::Open(const ReaderOptions& given,
                                                               const ReaderPosition& start) {
  ReaderOptions options = given;
  PAGODA_RETURN_IF_ERROR(CheckOptions(options));
  PAGODA_RETURN_IF_ERROR(LoadJoins(&options.schema));
  PAGODA_ASSIGN_OR_RETURN(std::vector<std::string> files, ExpandFiles(options.data.files));
  if (OwnFiles(options)) {
    if (static_cast<int64_t>(files.size()) < options.num_workers) {
      return absl::InvalidArgumentError(
          absl::StrCat("sharding = files needs at least one file for each of the ",
                       options.num_workers, " workers, but there are ", files.size()));
    }
    if (options.batch_size < options.num_workers) {
      return absl::InvalidArgumentError(absl::StrCat("batch_size ", options.batch_size,
                                                     " is less than one row for each of ",
                                                     options.num_workers, " workers"));
    }
  }
  PAGODA_ASSIGN_OR_RETURN(
      DataColumns columns,
      BindColumns(options.data, files, options.schema,
                  ColumnRequirements{options.needs_labels, options.absent_columns_empty}));
  const bool lists = options.data.format == "libsvm" || options.data.format == "libffm";
  PAGODA_ASSIGN_OR_RETURN(
      FeatureTransform transform,
      FeatureTransform::Create(options.schema, columns.slots, options.needs_labels,
                               lists ? kListSeparator : '\0'));
  auto reader = std::make_unique<ThreadedReader>(options, std::move(files), std::move(columns),
                                                 std::move(transform), start);
  PAGODA_RETURN_IF_ERROR(reader->Start(start));
  return reader;
}

}  // namespace pagoda

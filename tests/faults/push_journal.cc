#include "tests/faults/push_journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/durable_file.h"

namespace pagoda {
namespace {

constexpr size_t kHeaderBytes = 1 + sizeof(uint64_t);

class Writer {
 public:
  template <typename T>
  void Put(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  template <typename T>
  void PutArray(const std::vector<T>& values) {
    Put(static_cast<uint64_t>(values.size()));
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }
  void PutText(const std::string& text) {
    Put(static_cast<uint64_t>(text.size()));
    bytes_.append(text);
  }
  std::string& bytes() { return bytes_; }

 private:
  std::string bytes_;
};

class Parser {
 public:
  explicit Parser(absl::string_view bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }

  template <typename T>
  T Get() {
    T value = {};
    if (Has(sizeof(T))) {
      std::memcpy(&value, rest_.data(), sizeof(T));
      rest_.remove_prefix(sizeof(T));
    }
    return value;
  }
  template <typename T>
  std::vector<T> GetArray() {
    const uint64_t count = Get<uint64_t>();
    if (!ok_ || count > rest_.size() / sizeof(T)) {
      ok_ = false;
      return {};
    }
    std::vector<T> values(count);
    std::memcpy(values.data(), rest_.data(), count * sizeof(T));
    rest_.remove_prefix(count * sizeof(T));
    return values;
  }
  std::string GetText() {
    const std::vector<char> text = GetArray<char>();
    return {text.begin(), text.end()};
  }

 private:
  bool Has(size_t size) { return ok_ = ok_ && size <= rest_.size(); }
  absl::string_view rest_;
  bool ok_ = true;
};

std::string BodyOf(const JournalRecord& record) {
  Writer body;
  if (record.kind != JournalRecord::Kind::kPush) {
    body.PutText(record.cut);
    return body.bytes();
  }
  body.Put(record.rank);
  body.Put(record.step);
  body.Put(record.learning_rate_factor);
  body.Put(static_cast<uint64_t>(record.tables.size()));
  for (const JournalTable& table : record.tables) {
    body.PutText(table.name);
    body.PutArray(table.ids);
    body.PutArray(table.gradients);
  }
  return body.bytes();
}

bool ParseRecord(uint8_t kind, absl::string_view body, JournalRecord* record) {
  if (kind < 1 || kind > 3) return false;
  record->kind = static_cast<JournalRecord::Kind>(kind);
  Parser parser(body);
  if (record->kind != JournalRecord::Kind::kPush) {
    record->cut = parser.GetText();
    return parser.ok();
  }
  record->rank = parser.Get<uint32_t>();
  record->step = parser.Get<Step>();
  record->learning_rate_factor = parser.Get<float>();
  const uint64_t num_tables = parser.Get<uint64_t>();
  for (uint64_t t = 0; t < num_tables && parser.ok(); ++t) {
    JournalTable table;
    table.name = parser.GetText();
    table.ids = parser.GetArray<FeatureId>();
    table.gradients = parser.GetArray<float>();
    record->tables.push_back(std::move(table));
  }
  return parser.ok();
}

// The size of the record that `bytes` begins with; 0 when it is torn.
size_t WholeRecordBytes(absl::string_view bytes) {
  if (bytes.size() < kHeaderBytes) return 0;
  uint64_t size = 0;
  std::memcpy(&size, bytes.data() + 1, sizeof(size));
  return size <= bytes.size() - kHeaderBytes ? kHeaderBytes + size : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PushJournal>> PushJournal::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_APPEND, 0644);
  if (fd < 0) return absl::UnavailableError(absl::StrCat(path, ": ", strerror(errno)));
  std::unique_ptr<PushJournal> journal(new PushJournal(fd, path));
  PAGODA_ASSIGN_OR_RETURN(const std::string bytes, ReadWholeFile(path));
  size_t whole = 0;
  while (const size_t size = WholeRecordBytes(absl::string_view(bytes).substr(whole))) {
    whole += size;
  }
  if (::ftruncate(fd, static_cast<off_t>(whole)) != 0) {
    return absl::UnavailableError(absl::StrCat(path, ": ", strerror(errno)));
  }
  return journal;
}

PushJournal::~PushJournal() {
  ::close(fd_);
}

absl::Status PushJournal::Append(const JournalRecord& record) {
  const std::string body = BodyOf(record);
  Writer whole;
  whole.Put(static_cast<uint8_t>(record.kind));
  whole.PutText(body);
  const std::string& bytes = whole.bytes();
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t count = ::write(fd_, bytes.data() + written, bytes.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::UnavailableError(absl::StrCat(path_, ": ", strerror(errno)));
    written += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

absl::Status PushJournal::Read(const std::string& path,
                               const std::function<void(const JournalRecord&)>& visit) {
  PAGODA_ASSIGN_OR_RETURN(const std::string bytes, ReadWholeFile(path));
  absl::string_view rest = bytes;
  while (const size_t size = WholeRecordBytes(rest)) {
    JournalRecord record;
    if (!ParseRecord(static_cast<uint8_t>(rest[0]), rest.substr(kHeaderBytes, size - kHeaderBytes),
                     &record)) {
      return absl::DataLossError(
          absl::StrCat(path, ": no record at byte ", bytes.size() - rest.size()));
    }
    visit(record);
    rest.remove_prefix(size);
  }
  return absl::OkStatus();
}

}  // namespace pagoda

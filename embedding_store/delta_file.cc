#include "embedding_store/delta_file.h"

#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "embedding_store/table_registry.h"

namespace pagoda {
namespace {

static_assert(std::endian::native == std::endian::little, "file formats are little-endian");

constexpr absl::string_view kMagic = "PAGODADL";
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 40;
constexpr size_t kRecordBytes = 20;  // Before the value.
constexpr char kMagicWord[] = "pagoda-delta ";
constexpr char kMagicLine[] = "pagoda-delta 1";

enum RecordKind : uint32_t { kStored = 1, kDeleted = 2, kEnd = 3 };

struct Record {
  uint32_t kind = 0;
  uint32_t table = 0;
  uint64_t id = 0;
  uint32_t value_bytes = 0;
};

template <typename T>
void Append(std::string* bytes, T value) {
  bytes->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

template <typename T>
T Load(absl::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}

void AppendRecord(std::string* bytes, const Record& record) {
  Append(bytes, record.kind);
  Append(bytes, record.table);
  Append(bytes, record.id);
  Append(bytes, record.value_bytes);
}

// The records between header and end, as long as they are whole.
bool NextRecord(absl::string_view* rest, Record* record, absl::string_view* value) {
  if (rest->size() < kRecordBytes) return false;
  record->kind = Load<uint32_t>(*rest, 0);
  record->table = Load<uint32_t>(*rest, 4);
  record->id = Load<uint64_t>(*rest, 8);
  record->value_bytes = Load<uint32_t>(*rest, 16);
  rest->remove_prefix(kRecordBytes);
  if (rest->size() < record->value_bytes) return false;
  *value = rest->substr(0, record->value_bytes);
  rest->remove_prefix(record->value_bytes);
  return true;
}

}  // namespace

DeltaFileBuilder::DeltaFileBuilder(const DeltaEnds& ends, uint32_t number) : bytes_(kMagic) {
  Append(&bytes_, kVersion);
  Append(&bytes_, number);
  Append(&bytes_, ends.since);
  Append(&bytes_, ends.cut);
  Append(&bytes_, HashBytes(bytes_));
}

void DeltaFileBuilder::Add(const DeltaRow& row) {
  const absl::string_view value = row.deleted ? absl::string_view() : row.value;
  AppendRecord(&bytes_, {row.deleted ? kDeleted : kStored, row.table, row.id,
                         static_cast<uint32_t>(value.size())});
  bytes_.append(value.data(), value.size());
  ++rows_;
}

std::string DeltaFileBuilder::Finish(bool last) {
  AppendRecord(&bytes_, {kEnd, last ? 1u : 0u, rows_, sizeof(uint64_t)});
  Append(&bytes_, HashBytes(bytes_));
  return std::move(bytes_);
}

absl::StatusOr<DeltaFileInfo> ReadDeltaFile(absl::string_view bytes, const std::string& source,
                                            const VisitDeltaRow& visit) {
  if (bytes.size() < kHeaderBytes + kRecordBytes + sizeof(uint64_t) ||
      !absl::StartsWith(bytes, kMagic)) {
    return absl::DataLossError(absl::StrCat(source, " is not a whole file of a delta"));
  }
  const auto version = Load<uint32_t>(bytes, 8);
  if (version != kVersion) {
    return absl::FailedPreconditionError(absl::StrCat(source, " has delta format version ", version,
                                                      ", this build reads ", kVersion));
  }
  const size_t body = bytes.size() - sizeof(uint64_t);
  if (Load<uint64_t>(bytes, kHeaderBytes - 8) != HashBytes(bytes.substr(0, kHeaderBytes - 8)) ||
      Load<uint64_t>(bytes, body) != HashBytes(bytes.substr(0, body))) {
    return absl::DataLossError(absl::StrCat(source, " is damaged: its checksum is wrong"));
  }
  DeltaFileInfo info;
  info.number = Load<uint32_t>(bytes, 12);
  info.ends = {Load<uint64_t>(bytes, 16), Load<uint64_t>(bytes, 24)};
  absl::string_view rest = bytes.substr(kHeaderBytes);
  Record record;
  absl::string_view value;
  while (NextRecord(&rest, &record, &value)) {
    if (record.kind == kEnd && rest.empty() && record.id == info.rows) {
      info.last = record.table != 0;
      return info;
    }
    if (record.kind != kStored && record.kind != kDeleted) break;
    ++info.rows;
    PAGODA_RETURN_IF_ERROR(visit({record.table, record.id, record.kind == kDeleted, value}));
  }
  return absl::DataLossError(
      absl::StrCat(source, " cannot be read behind row ", info.rows, ": it has no end"));
}

std::string DeltaFileName(uint32_t number) {
  return absl::StrFormat("delta-%06d", number);
}

std::string FormatDeltaManifest(const DeltaManifest& manifest) {
  std::string text =
      absl::StrFormat("%s\nsince %016x\ncut %016x\nstored %d\ndeleted %d\nfiles %d\n", kMagicLine,
                      manifest.ends.since, manifest.ends.cut, manifest.stored, manifest.deleted,
                      manifest.files.size());
  for (size_t i = 0; i < manifest.files.size(); ++i) {
    absl::StrAppendFormat(&text, "file %s %d %016x\n", DeltaFileName(static_cast<uint32_t>(i + 1)),
                          manifest.files[i].bytes, manifest.files[i].checksum);
  }
  return WithChecksumLine(std::move(text));
}

absl::StatusOr<DeltaManifest> ParseDeltaManifest(absl::string_view text,
                                                 const std::string& source) {
  const absl::string_view first = text.substr(0, text.find('\n'));
  if (absl::StartsWith(first, kMagicWord) && first != kMagicLine) {
    return absl::FailedPreconditionError(
        absl::StrCat(source, " has format \"", first, "\", this build reads \"", kMagicLine, "\""));
  }
  PAGODA_ASSIGN_OR_RETURN(const absl::string_view body, StripChecksumLine(text, source));
  const std::vector<absl::string_view> lines = absl::StrSplit(body, '\n', absl::SkipEmpty());
  DeltaManifest manifest;
  size_t files = 0;
  // Line i of the head is `word value`.
  auto number = [&](size_t i, absl::string_view word, auto* value, bool hex) {
    const std::vector<absl::string_view> words = absl::StrSplit(lines[i], ' ');
    if (words.size() != 2 || words[0] != word) return false;
    if constexpr (sizeof(*value) == 8) {
      if (hex) return absl::SimpleHexAtoi(words[1], value);
    }
    return absl::SimpleAtoi(words[1], value);
  };
  bool good = lines.size() >= 6 && number(1, "since", &manifest.ends.since, true) &&
              number(2, "cut", &manifest.ends.cut, true) &&
              number(3, "stored", &manifest.stored, false) &&
              number(4, "deleted", &manifest.deleted, false) && number(5, "files", &files, false) &&
              lines.size() == 6 + files;
  for (size_t i = 0; good && i < files; ++i) {
    const std::vector<absl::string_view> words = absl::StrSplit(lines[6 + i], ' ');
    DeltaManifest::File file;
    good = words.size() == 4 && words[0] == "file" &&
           words[1] == DeltaFileName(static_cast<uint32_t>(i + 1)) &&
           absl::SimpleAtoi(words[2], &file.bytes) && absl::SimpleHexAtoi(words[3], &file.checksum);
    manifest.files.push_back(file);
  }
  if (good) return manifest;
  return absl::DataLossError(absl::StrCat(source, ": cannot be read"));
}

absl::StatusOr<Delta> ReadDelta(FileSystem* file_system, const std::string& directory,
                                const VisitDeltaRow& visit) {
  const std::string path = directory + "/MANIFEST";
  const absl::StatusOr<std::string> text = file_system->ReadAll(path);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(
        absl::StrCat(directory, " is not a complete delta: it has no MANIFEST"));
  }
  PAGODA_RETURN_IF_ERROR(text.status());
  Delta delta;
  PAGODA_ASSIGN_OR_RETURN(delta.manifest, ParseDeltaManifest(*text, path));
  PAGODA_ASSIGN_OR_RETURN(delta.tables, ReadTableRegistry(file_system, directory + "/REGISTRY"));
  for (uint32_t number = 1; number <= delta.manifest.files.size(); ++number) {
    const std::string name = absl::StrCat(directory, "/", DeltaFileName(number));
    const absl::StatusOr<std::string> bytes = file_system->ReadAll(name);
    if (absl::IsNotFound(bytes.status())) {
      return absl::DataLossError(absl::StrCat("delta file ", name, " is missing"));
    }
    PAGODA_RETURN_IF_ERROR(bytes.status());
    const DeltaManifest::File& file = delta.manifest.files[number - 1];
    if (static_cast<int64_t>(bytes->size()) != file.bytes || HashBytes(*bytes) != file.checksum) {
      return absl::DataLossError(
          absl::StrCat("delta file ", name, " is not the one that the MANIFEST names"));
    }
    PAGODA_ASSIGN_OR_RETURN(const DeltaFileInfo info, ReadDeltaFile(*bytes, name, visit));
    if (info.number != number || info.ends != delta.manifest.ends) {
      return absl::DataLossError(absl::StrCat(name, " belongs to another delta, or place in it"));
    }
  }
  return delta;
}

}  // namespace pagoda

#include "tests/fuzz/data_fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/feature_transform.h"
#include "worker/libsvm_format.h"
#include "worker/line_source.h"

namespace pagoda {
namespace {

// Every kind of feature, over five columns.
FeatureSchema AllKinds(const std::vector<std::string>& columns) {
  FeatureSchema schema;
  for (const FeatureKind kind : {FeatureKind::kCategorical, FeatureKind::kId, FeatureKind::kNumeric,
                                 FeatureKind::kBucketised, FeatureKind::kCategorical}) {
    FeatureSpec spec;
    spec.name = absl::StrCat("feature", schema.features.size());
    spec.column = columns[schema.features.size()];
    spec.kind = kind;
    spec.boundaries = {-1.0, 0.0, 10.0};
    spec.transform.log = schema.features.size() % 2 == 0;
    schema.features.push_back(spec);
  }
  schema.features[1].separator = "|";
  schema.features[4].separator = "::";
  schema.features[4].last = 2;
  schema.label = "label";
  schema.weight = "weight";
  schema.group = "group";
  return schema;
}

ColumnSlots SlotsInOrder() {
  ColumnSlots slots;
  slots.feature = {0, 1, 2, 3, 4};
  slots.label = 5;
  slots.weight = 6;
  slots.group = 7;
  return slots;
}

struct Format {
  std::unique_ptr<RowParser> parser;
  char list_separator = '\0';
  std::vector<std::string> columns = {"a", "b", "c", "d", "e"};
};

Format PickFormat(uint8_t choice) {
  Format format;
  if (choice % 4 == 3) {
    format.list_separator = kListSeparator;
    const bool fields = (choice & 4) != 0;
    format.columns = fields ? std::vector<std::string>{"field0", "field1", "c", "d", "field2"}
                            : std::vector<std::string>{"features", "b", "f3", "f4", "features"};
    auto parser =
        fields ? MakeLibffmParser({"field0", "field1", "", "", "field2", "label", "", ""})
               : MakeLibsvmParser({"features", "", "f3", "f4", "features", "label", "f9", "qid"});
    PAGODA_CHECK(parser.ok());
    format.parser = std::move(*parser);
    return format;
  }
  DelimitedOptions options;
  options.delimiter = (choice & 4) != 0 ? '\t' : ',';
  options.quotes = choice % 4 != 2;
  options.trim = (choice & 8) != 0;
  options.missing = (choice & 16) != 0 ? "?" : "";
  format.parser = MakeDelimitedParser(options, 8, {0, 1, 2, 3, 4, 5, 6, 7});
  return format;
}

void CheckBatch(const Batch& batch) {
  const size_t size = static_cast<size_t>(batch.size);
  PAGODA_CHECK(batch.sparse.size() == 4 && batch.dense.size() == size);
  for (const RaggedIds& column : batch.sparse) {
    PAGODA_CHECK(column.offsets.size() == size + 1 && column.offsets[0] == 0);
    for (size_t i = 0; i < size; ++i) PAGODA_CHECK(column.offsets[i] <= column.offsets[i + 1]);
    PAGODA_CHECK(static_cast<size_t>(column.offsets[size]) == column.ids.size());
  }
  PAGODA_CHECK(batch.labels.size() == size && batch.weights.size() == size);
  PAGODA_CHECK(batch.groups.size() == size && batch.origins.size() == size);
  for (const float x : batch.dense) PAGODA_CHECK(x - x == 0.0f);
  for (const float y : batch.labels) PAGODA_CHECK(y == 0.0f || y == 1.0f);
  for (const float w : batch.weights) PAGODA_CHECK(w >= 0.0f && w - w == 0.0f);
}

struct Read {
  std::vector<std::string> rows;
  std::vector<LinePosition> positions;
  absl::Status status;
};

Read ReadLines(LineSource& source) {
  Read read;
  Line line;
  for (;;) {
    const absl::StatusOr<bool> more = source.Next(&line);
    read.status = more.status();
    if (!more.ok() || !*more) return read;
    read.rows.push_back(absl::StrCat(line.line, ":", line.too_long ? "long:" : "", line.text));
    read.positions.push_back(source.position());
  }
}

}  // namespace

void FuzzRow(const uint8_t* bytes, size_t size) {
  if (size < 1) return;
  const Format format = PickFormat(bytes[0]);
  auto transform = FeatureTransform::Create(AllKinds(format.columns), SlotsInOrder(),
                                            (bytes[0] & 32) == 0, format.list_separator);
  PAGODA_CHECK(transform.ok());
  // An exact copy, so that reading one byte too far is seen by a sanitizer.
  const std::vector<char> row(bytes + 1, bytes + size);
  const absl::string_view line(row.data(), row.size());
  Batch batch = transform->NewBatch(2);
  RowCells cells;
  for (int round = 0; round < 2; ++round) {
    RowError error;
    const bool good = format.parser->Parse(line, &cells, &error) &&
                      transform->AppendRow(cells, SampleOrigin{0, 1}, &batch, &error);
    PAGODA_CHECK(good == error.message.empty());
    PAGODA_CHECK(good ? batch.size == round + 1 : (batch.size == 0 && error.column >= 1));
    CheckBatch(batch);
  }
}

void FuzzFile(const uint8_t* bytes, size_t size) {
  if (size < 1) return;
  LineOptions options;
  options.skip_lines = bytes[0] % 3;
  options.header = (bytes[0] & 4) != 0;
  options.spaces_are_blank = (bytes[0] & 8) != 0;
  const int fd = memfd_create("pagoda_fuzz", 0);
  PAGODA_CHECK(fd >= 0);
  PAGODA_CHECK(write(fd, bytes + 1, size - 1) == static_cast<ssize_t>(size - 1));
  LineSource source({absl::StrCat("/proc/self/fd/", fd)}, options);
  const Read whole = ReadLines(source);
  // Reading again from everywhere is quadratic; enough places find what there is.
  const size_t step = whole.rows.size() / 16 + 1;
  for (size_t i = 0; i < whole.positions.size(); i += step) {
    PAGODA_CHECK(source.Seek(whole.positions[i]).ok());
    const Read rest = ReadLines(source);
    PAGODA_CHECK(rest.status == whole.status);
    PAGODA_CHECK(rest.rows ==
                 std::vector<std::string>(whole.rows.begin() + static_cast<int64_t>(i) + 1,
                                          whole.rows.end()));
  }
  close(fd);
}

}  // namespace pagoda

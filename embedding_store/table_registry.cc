#include "embedding_store/table_registry.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/hash.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr char kMagicLine[] = "pagoda-registry 1";
constexpr char kMagicWord[] = "pagoda-registry ";
constexpr char kChecksumWord[] = "checksum ";
constexpr size_t kChecksumLineBytes = 9 + 16 + 1;

// Reads "key value" lines in the order they were written.
class LineReader {
 public:
  LineReader(absl::string_view text, const std::string& source)
      : lines_(absl::StrSplit(text, '\n')), source_(source) {
    if (!lines_.empty() && lines_.back().empty()) lines_.pop_back();
  }

  bool done() const { return next_ >= lines_.size(); }

  bool NextIs(absl::string_view key) const {
    return !done() && absl::StartsWith(lines_[next_], absl::StrCat(key, " "));
  }

  absl::Status Error(absl::string_view what) const {
    return absl::DataLossError(absl::StrCat(source_, ":", next_, ": ", what));
  }

  absl::StatusOr<std::string> Next(absl::string_view key) {
    if (done()) return Error(absl::StrCat("the file ends before ", key));
    absl::string_view line = lines_[next_++];
    if (!absl::StartsWith(line, key) || line.size() <= key.size() || line[key.size()] != ' ') {
      return Error(absl::StrCat("expected ", key));
    }
    return std::string(line.substr(key.size() + 1));
  }

  template <typename T>
  absl::Status Read(absl::string_view key, T* value) {
    PAGODA_ASSIGN_OR_RETURN(const std::string text, Next(key));
    bool good = false;
    if constexpr (std::is_same_v<T, float>) {
      good = absl::SimpleAtof(text, value);
    } else if constexpr (std::is_same_v<T, double>) {
      good = absl::SimpleAtod(text, value);
    } else {
      good = absl::SimpleAtoi(text, value);
    }
    return good ? absl::OkStatus() : Error(absl::StrCat(key, " is not a number: ", text));
  }

 private:
  std::vector<absl::string_view> lines_;
  std::string source_;
  size_t next_ = 0;
};

// Lines that a table has only where it differs from the defaults.
struct OptionalLine {
  const char* key;
  float SparseOptimizerOptions::*member;
};
constexpr OptionalLine kOptionalLines[] = {
    {"ftrl_l21", &SparseOptimizerOptions::ftrl_l21},
    {"momentum", &SparseOptimizerOptions::momentum},
    {"weight_decay", &SparseOptimizerOptions::weight_decay},
    {"accumulator_decay", &SparseOptimizerOptions::accumulator_decay},
    {"clip_norm", &SparseOptimizerOptions::clip_norm},
    {"clip_value", &SparseOptimizerOptions::clip_value}};

// Lines of admission and eviction: none where a table has neither.
void AppendPolicies(const TableOptions& t, std::string* text) {
  const AdmissionOptions& a = t.admission;
  if (a.kind != AdmissionKind::kNone) {
    absl::StrAppendFormat(text, "admission %s\n", AdmissionKindName(a.kind));
  }
  if (a.kind == AdmissionKind::kFrequency) {
    absl::StrAppendFormat(text,
                          "admission_count %d\nadmission_window_steps %d\n"
                          "admission_sketch_mib %d\n",
                          a.count, a.window_steps, a.sketch_mib);
  }
  if (a.kind == AdmissionKind::kProbability) {
    absl::StrAppendFormat(text, "admission_probability %.17g\n", a.probability);
  }
  const EvictionPolicy& e = t.eviction;
  if (e == EvictionPolicy()) return;
  absl::StrAppendFormat(text,
                        "evict_every_steps %d\nevict_every_seconds %d\nevict_bytes_disk_max %d\n"
                        "evict_unused_steps %d\nevict_updates_min %d\nevict_norm_min %.9g\n",
                        e.every_steps, e.every_seconds, e.bytes_disk_max, e.rule.unused_steps,
                        e.rule.updates_min, e.rule.norm_min);
  absl::StrAppendFormat(text,
                        "evict_score_min %.17g\nevict_score_half_life %d\nevict_rows_max %d\n"
                        "evict_order %s\n",
                        e.rule.score_min, e.rule.score_half_life, e.rule.rows_max,
                        EvictionOrderName(e.rule.order));
}

void AppendTable(const TableOptions& t, size_t index, std::string* text) {
  const SparseOptimizerOptions& o = t.optimizer;
  absl::StrAppend(text, "table ", index, "\nname ", absl::CEscape(t.name), "\ndim ", t.dim,
                  "\nseed ", t.seed, "\n");
  absl::StrAppendFormat(text, "init_stddev %.9g\ninit_zero_columns %d\nfrozen %d\n", t.init_stddev,
                        t.init_zero_columns, t.frozen ? 1 : 0);
  if (t.precision != RowPrecision::kF32) {
    absl::StrAppendFormat(text, "precision %s\n", RowPrecisionName(t.precision));
  }
  if (t.slots_grown) text->append("slots_grown 1\n");
  absl::StrAppendFormat(text, "optimizer %s\nlearning_rate %.9g\ninitial_accumulator %.9g\n",
                        SparseOptimizerName(o.kind), o.learning_rate, o.initial_accumulator);
  absl::StrAppendFormat(text, "epsilon %.9g\nbeta1 %.9g\nbeta2 %.9g\nl2 %.9g\n", o.epsilon, o.beta1,
                        o.beta2, o.l2);
  absl::StrAppendFormat(text, "ftrl_l1 %.9g\nftrl_l2 %.9g\nftrl_beta %.9g\n", o.ftrl_l1, o.ftrl_l2,
                        o.ftrl_beta);
  const SparseOptimizerOptions defaults;
  for (const OptionalLine& line : kOptionalLines) {
    if (o.*line.member == defaults.*line.member) continue;
    absl::StrAppendFormat(text, "%s %.9g\n", line.key, o.*line.member);
  }
  if (o.decay_steps != defaults.decay_steps) {
    absl::StrAppendFormat(text, "decay_steps %d\n", o.decay_steps);
  }
  if (o.exact) text->append("exact 1\n");
  AppendPolicies(t, text);
  if (o.schedule == defaults.schedule) return;
  absl::StrAppendFormat(text, "schedule %s\nwarmup_steps %d\ntotal_steps %d\nmin_factor %.9g\n",
                        RateScheduleName(o.schedule.kind), o.schedule.warmup_steps,
                        o.schedule.total_steps, o.schedule.min_factor);
}

absl::Status ReadAdmission(LineReader& reader, AdmissionOptions* a) {
  if (!reader.NextIs("admission")) return absl::OkStatus();
  PAGODA_ASSIGN_OR_RETURN(const std::string name, reader.Next("admission"));
  const absl::StatusOr<AdmissionKind> kind = ParseAdmissionKind(name);
  if (!kind.ok()) return reader.Error(kind.status().message());
  a->kind = *kind;
  if (a->kind == AdmissionKind::kProbability) {
    return reader.Read("admission_probability", &a->probability);
  }
  if (a->kind == AdmissionKind::kNone) return absl::OkStatus();
  PAGODA_RETURN_IF_ERROR(reader.Read("admission_count", &a->count));
  PAGODA_RETURN_IF_ERROR(reader.Read("admission_window_steps", &a->window_steps));
  return reader.Read("admission_sketch_mib", &a->sketch_mib);
}

absl::Status ReadEviction(LineReader& reader, EvictionPolicy* e) {
  if (!reader.NextIs("evict_every_steps")) return absl::OkStatus();
  PAGODA_RETURN_IF_ERROR(reader.Read("evict_every_steps", &e->every_steps));
  PAGODA_RETURN_IF_ERROR(reader.Read("evict_every_seconds", &e->every_seconds));
  PAGODA_RETURN_IF_ERROR(reader.Read("evict_bytes_disk_max", &e->bytes_disk_max));
  PAGODA_RETURN_IF_ERROR(reader.Read("evict_unused_steps", &e->rule.unused_steps));
  PAGODA_RETURN_IF_ERROR(reader.Read("evict_updates_min", &e->rule.updates_min));
  PAGODA_RETURN_IF_ERROR(reader.Read("evict_norm_min", &e->rule.norm_min));
  PAGODA_RETURN_IF_ERROR(reader.Read("evict_score_min", &e->rule.score_min));
  PAGODA_RETURN_IF_ERROR(reader.Read("evict_score_half_life", &e->rule.score_half_life));
  PAGODA_RETURN_IF_ERROR(reader.Read("evict_rows_max", &e->rule.rows_max));
  PAGODA_ASSIGN_OR_RETURN(const std::string name, reader.Next("evict_order"));
  const absl::StatusOr<EvictionOrder> order = ParseEvictionOrder(name);
  if (!order.ok()) return reader.Error(order.status().message());
  e->rule.order = *order;
  return absl::OkStatus();
}

absl::Status ReadOptionalLines(LineReader& reader, TableOptions* t) {
  SparseOptimizerOptions* const o = &t->optimizer;
  for (const OptionalLine& line : kOptionalLines) {
    if (!reader.NextIs(line.key)) continue;
    PAGODA_RETURN_IF_ERROR(reader.Read(line.key, &(o->*line.member)));
  }
  if (reader.NextIs("decay_steps")) {
    PAGODA_RETURN_IF_ERROR(reader.Read("decay_steps", &o->decay_steps));
  }
  if (reader.NextIs("exact")) {
    int exact = 0;
    PAGODA_RETURN_IF_ERROR(reader.Read("exact", &exact));
    o->exact = exact != 0;
  }
  PAGODA_RETURN_IF_ERROR(ReadAdmission(reader, &t->admission));
  PAGODA_RETURN_IF_ERROR(ReadEviction(reader, &t->eviction));
  if (!reader.NextIs("schedule")) return absl::OkStatus();
  PAGODA_ASSIGN_OR_RETURN(const std::string schedule, reader.Next("schedule"));
  const absl::StatusOr<RateScheduleKind> kind = ParseRateSchedule(schedule);
  if (!kind.ok()) return reader.Error(kind.status().message());
  o->schedule.kind = *kind;
  PAGODA_RETURN_IF_ERROR(reader.Read("warmup_steps", &o->schedule.warmup_steps));
  PAGODA_RETURN_IF_ERROR(reader.Read("total_steps", &o->schedule.total_steps));
  return reader.Read("min_factor", &o->schedule.min_factor);
}

absl::StatusOr<TableOptions> ReadTable(LineReader& reader, size_t index) {
  TableOptions t;
  SparseOptimizerOptions& o = t.optimizer;
  size_t stored_index = 0;
  PAGODA_RETURN_IF_ERROR(reader.Read("table", &stored_index));
  if (stored_index != index) return reader.Error(absl::StrCat("expected table ", index));
  PAGODA_ASSIGN_OR_RETURN(const std::string name, reader.Next("name"));
  std::string error;
  if (!absl::CUnescape(name, &t.name, &error)) return reader.Error(error);
  PAGODA_RETURN_IF_ERROR(reader.Read("dim", &t.dim));
  PAGODA_RETURN_IF_ERROR(reader.Read("seed", &t.seed));
  PAGODA_RETURN_IF_ERROR(reader.Read("init_stddev", &t.init_stddev));
  PAGODA_RETURN_IF_ERROR(reader.Read("init_zero_columns", &t.init_zero_columns));
  int frozen = 0;
  PAGODA_RETURN_IF_ERROR(reader.Read("frozen", &frozen));
  t.frozen = frozen != 0;
  if (reader.NextIs("precision")) {
    PAGODA_ASSIGN_OR_RETURN(const std::string precision_name, reader.Next("precision"));
    const absl::StatusOr<RowPrecision> precision = ParseRowPrecision(precision_name);
    if (!precision.ok()) return reader.Error(precision.status().message());
    t.precision = *precision;
  }
  if (reader.NextIs("slots_grown")) {
    int grown = 0;
    PAGODA_RETURN_IF_ERROR(reader.Read("slots_grown", &grown));
    t.slots_grown = grown != 0;
  }
  PAGODA_ASSIGN_OR_RETURN(const std::string optimizer, reader.Next("optimizer"));
  const absl::StatusOr<SparseOptimizerKind> kind = ParseSparseOptimizer(optimizer);
  if (!kind.ok()) return reader.Error(kind.status().message());
  o.kind = *kind;
  PAGODA_RETURN_IF_ERROR(reader.Read("learning_rate", &o.learning_rate));
  PAGODA_RETURN_IF_ERROR(reader.Read("initial_accumulator", &o.initial_accumulator));
  PAGODA_RETURN_IF_ERROR(reader.Read("epsilon", &o.epsilon));
  PAGODA_RETURN_IF_ERROR(reader.Read("beta1", &o.beta1));
  PAGODA_RETURN_IF_ERROR(reader.Read("beta2", &o.beta2));
  PAGODA_RETURN_IF_ERROR(reader.Read("l2", &o.l2));
  PAGODA_RETURN_IF_ERROR(reader.Read("ftrl_l1", &o.ftrl_l1));
  PAGODA_RETURN_IF_ERROR(reader.Read("ftrl_l2", &o.ftrl_l2));
  PAGODA_RETURN_IF_ERROR(reader.Read("ftrl_beta", &o.ftrl_beta));
  PAGODA_RETURN_IF_ERROR(ReadOptionalLines(reader, &t));
  const absl::Status checked = CheckTableOptions(t);
  if (!checked.ok()) return reader.Error(checked.message());
  return t;
}

}  // namespace

std::string WithChecksumLine(std::string text) {
  const uint64_t checksum = HashBytes(text);
  absl::StrAppendFormat(&text, "%s%016x\n", kChecksumWord, checksum);
  return text;
}

absl::StatusOr<absl::string_view> StripChecksumLine(absl::string_view text,
                                                    const std::string& source) {
  if (text.size() >= kChecksumLineBytes) {
    const absl::string_view body = text.substr(0, text.size() - kChecksumLineBytes);
    const std::string expected = absl::StrFormat("%s%016x\n", kChecksumWord, HashBytes(body));
    if (text.substr(body.size()) == expected) return body;
  }
  return absl::DataLossError(absl::StrCat(source, ": the checksum does not match"));
}

std::string FormatTableRegistry(const std::vector<TableOptions>& tables) {
  std::string text = absl::StrCat(kMagicLine, "\ntables ", tables.size(), "\n");
  for (size_t i = 0; i < tables.size(); ++i) AppendTable(tables[i], i, &text);
  return WithChecksumLine(std::move(text));
}

absl::StatusOr<std::vector<TableOptions>> ParseTableRegistry(absl::string_view text,
                                                             const std::string& source) {
  const absl::string_view first = text.substr(0, text.find('\n'));
  if (absl::StartsWith(first, kMagicWord) && first != kMagicLine) {
    return absl::FailedPreconditionError(
        absl::StrCat(source, " has format \"", first, "\", this build reads \"", kMagicLine, "\""));
  }
  PAGODA_ASSIGN_OR_RETURN(const absl::string_view body, StripChecksumLine(text, source));
  LineReader reader(body, source);
  PAGODA_RETURN_IF_ERROR(reader.Next("pagoda-registry").status());
  size_t count = 0;
  PAGODA_RETURN_IF_ERROR(reader.Read("tables", &count));
  if (count > kTablesMax) return reader.Error("too many tables");
  std::vector<TableOptions> tables;
  for (size_t i = 0; i < count; ++i) {
    PAGODA_ASSIGN_OR_RETURN(TableOptions table, ReadTable(reader, i));
    tables.push_back(std::move(table));
  }
  if (!reader.done()) return reader.Error("lines after the last table");
  return tables;
}

absl::StatusOr<std::vector<TableOptions>> ReadTableRegistry(FileSystem* file_system,
                                                            const std::string& path) {
  PAGODA_ASSIGN_OR_RETURN(const std::string text, file_system->ReadAll(path));
  return ParseTableRegistry(text, path);
}

absl::Status WriteTableRegistry(FileSystem* file_system, const std::string& path,
                                const std::vector<TableOptions>& tables) {
  return file_system->ReplaceFile(path, FormatTableRegistry(tables));
}

}  // namespace pagoda

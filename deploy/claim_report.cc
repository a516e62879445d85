#include "deploy/claim_report.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "deploy/claim_metrics.h"

namespace pagoda {
namespace {

using Row = std::vector<std::string>;

std::string FormatValue(double value) {
  if (std::isnan(value)) return "-";
  if (std::isinf(value)) return value > 0 ? "never" : "-inf";
  return std::fabs(value) >= 1000 ? absl::StrFormat("%.0f", value) : absl::StrFormat("%.4f", value);
}

std::string VerdictOf(const ClaimReport& report, bool met) {
  if (report.pilot) return "(pilot)";
  return met ? "met" : "NOT MET";
}

std::string NullControl(const ClaimReport& report, const CheckResult& result) {
  if (result.check->null_world.empty()) return "";
  return absl::StrFormat("%s in %s, |.| <= %g%s", FormatValue(result.null_mean),
                         result.check->null_world, result.check->null_band,
                         report.pilot || result.null_met ? "" : ": NOT MET");
}

std::vector<Row> CheckRows(const ClaimReport& report) {
  std::vector<Row> rows = {
      {"check", "arm", "metric", "mean", "spread", "margin", "verdict", "null control"}};
  for (const CheckResult& result : report.verdict->checks) {
    const ClaimCheck& check = *result.check;
    std::string arm = check.arm;
    if (!check.over.empty()) absl::StrAppend(&arm, " - ", check.over);
    std::string mean = FormatValue(result.mean);
    if (result.closure.has_value()) {
      absl::StrAppend(&mean, absl::StrFormat(" (%.2f of the gap)", *result.closure));
    }
    rows.push_back({absl::StrCat(check.name, " [", check.world, "]"),
                    arm.empty() ? check.value.text() : arm, check.metric, mean,
                    FormatValue(result.spread), DescribeBounds(check, result.values.size()),
                    VerdictOf(report, result.met), NullControl(report, result)});
  }
  return rows;
}

std::vector<Row> ValueRows(const ClaimReport& report) {
  std::vector<Row> rows = {{"world", "arm", "metric", "mean", "spread", "each seed"}};
  for (const ClaimWorld& world : report.claim->worlds) {
    const auto values = report.values->all().find(world.name);
    if (values == report.values->all().end()) continue;
    for (const ClaimArm& arm : report.claim->arms) {
      for (const ClaimMetric& metric : report.claim->metrics) {
        const auto found = values->second.find({metric.name, arm.name});
        if (found == values->second.end()) continue;
        rows.push_back({world.name, arm.name, metric.name, FormatValue(MeanOf(found->second)),
                        FormatValue(StandardDeviation(found->second)),
                        absl::StrJoin(found->second, " ", [](std::string* out, double value) {
                          out->append(FormatValue(value));
                        })});
      }
    }
  }
  return rows;
}

std::string SeedLine(const ClaimReport& report) {
  return absl::StrFormat("hash %016x, seeds %s, of controls %s%s", report.claim->hash,
                         absl::StrJoin(report.options->seeds, " "),
                         absl::StrJoin(report.options->control_seeds, " "),
                         report.claim->fast ? " (fast)" : "");
}

std::string Closing(const ClaimReport& report) {
  if (report.pilot) return "PILOT: a throw-away seed, no verdict";
  return report.verdict->pass ? "PASS" : "FAIL";
}

std::string TextTable(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows[0].size(), 0);
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&line, row[i], std::string(widths[i] - row[i].size() + 2, ' '));
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

std::string MarkdownTable(const std::vector<Row>& rows) {
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (const std::string& cell : rows[r]) {
      absl::StrAppend(&text, "| ", absl::StrReplaceAll(cell, {{"|", "\\|"}}), " ");
    }
    absl::StrAppend(&text, "|\n");
    if (r > 0) continue;
    for (size_t i = 0; i < rows[r].size(); ++i) absl::StrAppend(&text, "|---");
    absl::StrAppend(&text, "|\n");
  }
  return text;
}

// The sentences of checks that are not met.
std::vector<std::string> FailureLines(const ClaimReport& report) {
  std::vector<std::string> lines;
  if (report.pilot) return lines;
  for (const CheckResult& result : report.verdict->checks) {
    for (const std::string& failure : result.failures) {
      lines.push_back(absl::StrCat(result.check->name, ": ", failure));
    }
  }
  return lines;
}

std::string JsonText(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&quoted, "\\u%04x", static_cast<unsigned char>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string JsonNumber(double value) {
  return std::isfinite(value) ? absl::StrFormat("%.9g", value) : "null";
}

template <typename Values, typename Format>
std::string JsonList(const Values& values, Format format) {
  std::vector<std::string> texts;
  for (const auto& value : values) texts.push_back(format(value));
  return absl::StrCat("[", absl::StrJoin(texts, ", "), "]");
}

std::string JsonSeeds(const std::vector<int64_t>& seeds) {
  return JsonList(seeds, [](int64_t seed) { return absl::StrCat(seed); });
}

std::string JsonCheck(const ClaimReport& report, const CheckResult& result) {
  const ClaimCheck& check = *result.check;
  std::string text = absl::StrCat(
      "{\"check\": ", JsonText(check.name), ", \"world\": ", JsonText(check.world),
      ", \"value\": ", JsonText(check.value.text()), ", \"mean\": ", JsonNumber(result.mean),
      ", \"spread\": ", JsonNumber(result.spread),
      ", \"bounds\": ", JsonText(DescribeBounds(check, result.values.size())),
      ", \"values\": ", JsonList(result.values, JsonNumber));
  if (result.closure.has_value()) {
    absl::StrAppend(&text, ", \"gap_closure\": ", JsonNumber(*result.closure));
  }
  if (!check.null_world.empty()) {
    absl::StrAppend(&text, ", \"null_world\": ", JsonText(check.null_world),
                    ", \"null_mean\": ", JsonNumber(result.null_mean),
                    ", \"null_values\": ", JsonList(result.null_values, JsonNumber));
  }
  if (!report.pilot) absl::StrAppend(&text, ", \"met\": ", result.met ? "true" : "false");
  return absl::StrCat(text, ", \"failures\": ", JsonList(result.failures, JsonText), "}");
}

std::string JsonValues(const ClaimReport& report) {
  std::vector<std::string> lines;
  for (const auto& [world, measured] : report.values->all()) {
    for (const auto& [name, values] : measured) {
      lines.push_back(absl::StrCat("    {\"world\": ", JsonText(world), ", \"arm\": ",
                                   JsonText(name.arm), ", \"metric\": ", JsonText(name.metric),
                                   ", \"values\": ", JsonList(values, JsonNumber), "}"));
    }
  }
  return absl::StrCat("[\n", absl::StrJoin(lines, ",\n"), "\n  ]");
}

}  // namespace

std::string ReportAsText(const ClaimReport& report) {
  std::string text = absl::StrCat(TextTable(ValueRows(report)), "\n", TextTable(CheckRows(report)));
  for (const std::string& line : FailureLines(report)) absl::StrAppend(&text, line, "\n");
  return absl::StrCat(text, SeedLine(report), "\n", report.claim->name, ": ", Closing(report),
                      "\n");
}

std::string ReportAsMarkdown(const ClaimReport& report) {
  std::string text = absl::StrCat(
      "# ", report.claim->name, ": ", Closing(report), "\n\n", report.claim->title,
      report.claim->source.empty() ? "" : absl::StrCat(" (", report.claim->source, ")"), "\n\n",
      SeedLine(report), "\n\n", MarkdownTable(CheckRows(report)), "\n");
  for (const std::string& line : FailureLines(report)) absl::StrAppend(&text, "- ", line, "\n");
  return absl::StrCat(text, "\n", MarkdownTable(ValueRows(report)));
}

std::string ReportAsJson(const ClaimReport& report) {
  const std::string verdict = report.pilot ? "null" : JsonText(Closing(report));
  const std::string checks = JsonList(report.verdict->checks, [&](const CheckResult& result) {
    return absl::StrCat("\n    ", JsonCheck(report, result));
  });
  return absl::StrCat("{\n  \"claim\": ", JsonText(report.claim->name), ",\n  \"hash\": \"",
                      absl::StrFormat("%016x", report.claim->hash),
                      "\",\n  \"seeds\": ", JsonSeeds(report.options->seeds),
                      ",\n  \"control_seeds\": ", JsonSeeds(report.options->control_seeds),
                      ",\n  \"fast\": ", report.claim->fast ? "true" : "false",
                      ",\n  \"pilot\": ", report.pilot ? "true" : "false",
                      ",\n  \"verdict\": ", verdict, ",\n  \"checks\": ", checks,
                      ",\n  \"values\": ", JsonValues(report), "\n}\n");
}

}  // namespace pagoda

#include "deploy/job_file_toml.h"

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace pagoda {
namespace {

// The section whose texts are short for tables: NAME = "kind".
constexpr const char* kFeatures = "features";
constexpr const char* kKind = "kind";

std::string Where(const std::string& path, const toml::source_region& region) {
  return absl::StrCat(path, ":", region.begin.line);
}

absl::StatusOr<OptionValue> Scalar(const toml::node& node, const std::string& where) {
  if (const auto* value = node.as_boolean()) return OptionValue(value->get());
  if (const auto* value = node.as_integer()) return OptionValue(value->get());
  if (const auto* value = node.as_floating_point()) return OptionValue(value->get());
  if (const auto* value = node.as_string()) return OptionValue(value->get());
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": a job file has no use for dates, times and tables in lists"));
}

absl::StatusOr<OptionValue> List(const toml::array& array, const std::string& where) {
  std::vector<int64_t> integers;
  std::vector<double> numbers;
  std::vector<std::string> texts;
  for (const toml::node& element : array) {
    PAGODA_ASSIGN_OR_RETURN(const OptionValue value, Scalar(element, where));
    if (const auto* integer = std::get_if<int64_t>(&value)) {
      integers.push_back(*integer);
      numbers.push_back(static_cast<double>(*integer));
    } else if (const auto* number = std::get_if<double>(&value)) {
      numbers.push_back(*number);
    } else if (const auto* text = std::get_if<std::string>(&value)) {
      texts.push_back(*text);
    }
  }
  if (integers.size() == array.size()) return OptionValue(std::move(integers));
  if (numbers.size() == array.size()) return OptionValue(std::move(numbers));
  if (texts.size() == array.size()) return OptionValue(std::move(texts));
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": a list must hold integers, numbers or texts, and not a mixture"));
}

absl::StatusOr<OptionValue> Value(const toml::node& node, const std::string& where) {
  if (const auto* array = node.as_array()) return List(*array, where);
  return Scalar(node, where);
}

// toml++ keeps tables sorted by name; the order of the file is in the regions.
struct Child {
  std::string key;
  const toml::node* node;
  toml::source_position position;
};

std::vector<Child> InFileOrder(const toml::table& table) {
  std::vector<Child> children;
  for (const auto& [key, node] : table) {
    children.push_back({std::string(key.str()), &node, key.source().begin});
  }
  std::stable_sort(children.begin(), children.end(), [](const Child& a, const Child& b) {
    return std::pair(a.position.line, a.position.column) <
           std::pair(b.position.line, b.position.column);
  });
  return children;
}

// [features], or [stage.NAME.features]: where a text is short for a table.
bool IsFeatures(const std::string& section) {
  if (section == kFeatures) return true;
  const std::vector<std::string> parts = absl::StrSplit(section, '.');
  return parts.size() == 3 && parts[0] == "stage" && parts[2] == kFeatures;
}

absl::Status AddTable(const std::string& section, const toml::table& table, JobDocument& document) {
  for (const Child& child : InFileOrder(table)) {
    const std::string where = absl::StrCat(document.path, ":", child.position.line);
    const std::string name = section.empty() ? child.key : absl::StrCat(section, ".", child.key);
    if (const toml::table* inner = child.node->as_table()) {
      document.sections.push_back({name, where});
      PAGODA_RETURN_IF_ERROR(AddTable(name, *inner, document));
      continue;
    }
    PAGODA_ASSIGN_OR_RETURN(OptionValue value, Value(*child.node, where));
    if (IsFeatures(section) && std::holds_alternative<std::string>(value)) {
      document.sections.push_back({name, where});
      document.entries.push_back({name, kKind, std::move(value), where, false});
      continue;
    }
    document.entries.push_back({section, child.key, std::move(value), where, false});
  }
  return absl::OkStatus();
}

bool IsBareKey(const std::string& key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-';
  });
}

std::string QuoteText(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppendFormat(&quoted, "\\u%04x", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string FormatNumber(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  // The shortest form that reads back as the same number.
  std::string text;
  for (int digits = 6; digits <= 17; ++digits) {
    text = absl::StrFormat("%.*g", digits, number);
    double back = 0.0;
    if (absl::SimpleAtod(text, &back) && back == number) break;
  }
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string FormatScalar(bool value) {
  return value ? "true" : "false";
}
std::string FormatScalar(int64_t value) {
  return absl::StrCat(value);
}
std::string FormatScalar(double value) {
  return FormatNumber(value);
}
std::string FormatScalar(const std::string& value) {
  return QuoteText(value);
}
template <typename T>
std::string FormatScalar(const std::vector<T>& values) {
  return absl::StrCat(
      "[",
      absl::StrJoin(values, ", ",
                    [](std::string* out, const T& v) { absl::StrAppend(out, FormatScalar(v)); }),
      "]");
}

// A value on its own, by way of a one-line document.
std::optional<OptionValue> ParseValue(const std::string& text) {
  const toml::parse_result parsed = toml::parse(absl::StrCat("value = ", text, "\n"));
  if (!parsed) return std::nullopt;
  const toml::node* node = parsed.table().get("value");
  if (node == nullptr || parsed.table().size() != 1) return std::nullopt;
  absl::StatusOr<OptionValue> value = Value(*node, "--set");
  if (!value.ok()) return std::nullopt;
  return *std::move(value);
}

bool HasSection(const JobDocument& document, const std::string& name) {
  return std::any_of(document.sections.begin(), document.sections.end(),
                     [&](const JobSection& section) { return section.name == name; });
}

// "[features.age]", with the parts quoted that are not bare keys.
std::string FormatSectionName(const std::string& name) {
  const size_t dot = name.find('.');
  if (dot == std::string::npos) return IsBareKey(name) ? name : QuoteText(name);
  // Only the first dot separates: what follows is a name that may hold dots.
  const std::string rest = name.substr(dot + 1);
  return absl::StrCat(FormatSectionName(name.substr(0, dot)), ".",
                      IsBareKey(rest) ? rest : QuoteText(rest));
}

}  // namespace

std::string OptionTypeName(const OptionValue& value) {
  static constexpr const char* kNames[] = {
      "true or false",    "integer",         "number",        "text",
      "list of integers", "list of numbers", "list of texts",
  };
  return kNames[value.index()];
}

std::string FormatTomlValue(const OptionValue& value) {
  return std::visit([](const auto& v) { return FormatScalar(v); }, value);
}

absl::StatusOr<JobDocument> ParseJobText(const std::string& path, const std::string& text) {
  const toml::parse_result parsed = toml::parse(text, path);
  if (!parsed) {
    return absl::InvalidArgumentError(absl::StrCat(Where(path, parsed.error().source()), ": ",
                                                   std::string(parsed.error().description())));
  }
  JobDocument document;
  document.path = path;
  PAGODA_RETURN_IF_ERROR(AddTable("", parsed.table(), document));
  return document;
}

absl::StatusOr<JobDocument> ReadJobFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  // Reading a directory opens it and then fails; an empty file fails only on <<.
  if (file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (!file.is_open() || file.bad() || text.bad()) {
    return absl::NotFoundError(absl::StrCat("cannot read the job file ", path));
  }
  return ParseJobText(path, text.str());
}

absl::Status ApplyOverride(const std::string& assignment, JobDocument& document) {
  const size_t equals = assignment.find('=');
  const std::string name = assignment.substr(0, equals);
  const size_t dot = name.rfind('.');
  if (equals == std::string::npos || dot == std::string::npos || dot == 0 ||
      dot + 1 == name.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--set ", assignment, ": expected section.key=value"));
  }
  const std::string text = assignment.substr(equals + 1);
  JobEntry entry;
  entry.section = name.substr(0, dot);
  entry.key = name.substr(dot + 1);
  entry.value = ParseValue(text).value_or(OptionValue(text));
  entry.where = absl::StrCat("--set ", name);
  if (IsFeatures(entry.section)) {
    entry.section = name;
    entry.key = kKind;
  }
  entry.from_command_line = true;
  // Parents of a new section, too: "data" before "data.valid".
  std::vector<std::string> sections = {entry.section.substr(0, entry.section.find('.'))};
  if (sections[0] == "stage") {
    const size_t second_dot = entry.section.find('.', sections[0].size() + 1);
    sections.push_back(entry.section.substr(0, second_dot));
  }
  sections.push_back(entry.section);
  for (const std::string& section : sections) {
    if (!HasSection(document, section)) document.sections.push_back({section, entry.where});
  }
  for (JobEntry& known : document.entries) {
    if (known.section == entry.section && known.key == entry.key) {
      known = std::move(entry);
      return absl::OkStatus();
    }
  }
  document.entries.push_back(std::move(entry));
  return absl::OkStatus();
}

std::string FormatJobDocument(const JobDocument& document) {
  std::string text;
  const auto append_entries = [&](const std::string& section) {
    for (const JobEntry& entry : document.entries) {
      if (entry.section != section) continue;
      const std::string key = IsBareKey(entry.key) ? entry.key : QuoteText(entry.key);
      absl::StrAppend(&text, key, " = ", FormatTomlValue(entry.value), "\n");
    }
  };
  append_entries("");
  for (const JobSection& section : document.sections) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", "[", FormatSectionName(section.name), "]\n");
    append_entries(section.name);
  }
  return text;
}

}  // namespace pagoda

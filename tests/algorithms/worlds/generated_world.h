// A generated world read back from its text: what its tests look at.
#pragma once

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "algorithms/worlds/draws.h"
#include "algorithms/worlds/world.h"

namespace pagoda {

// One file: cells by column.
class Table {
 public:
  Table() = default;
  Table(const std::string& header, const std::string& text) {
    names_ = absl::StrSplit(header, ',');
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      const std::vector<std::string> cells = absl::StrSplit(line, ',');
      if (cells.size() != names_.size()) FAIL("cells of " << std::string(line));
      for (size_t i = 0; i < cells.size(); ++i) cells_[names_[i]].push_back(cells[i]);
      ++rows_;
    }
  }

  size_t rows() const { return rows_; }
  const std::vector<std::string>& names() const { return names_; }
  const std::string& Text(const std::string& column, size_t row) const {
    return cells_.at(column).at(row);
  }
  double Number(const std::string& column, size_t row) const {
    double value = 0.0;
    // No REQUIRE: there are millions of cells.
    if (!absl::SimpleAtod(Text(column, row), &value)) FAIL(column << ": " << Text(column, row));
    return value;
  }
  std::vector<double> Numbers(const std::string& column) const {
    std::vector<double> values;
    for (size_t row = 0; row < rows_; ++row) values.push_back(Number(column, row));
    return values;
  }
  std::vector<int64_t> List(const std::string& column, size_t row) const {
    std::vector<int64_t> values;
    for (absl::string_view word : absl::StrSplit(Text(column, row), '|', absl::SkipEmpty())) {
      values.push_back(0);
      if (!absl::SimpleAtoi(word, &values.back())) FAIL(column << ": " << std::string(word));
    }
    return values;
  }

 private:
  std::vector<std::string> names_;
  std::map<std::string, std::vector<std::string>> cells_;
  size_t rows_ = 0;
};

struct GeneratedWorld {
  std::map<std::string, Table> tables;  // "train" for train.csv
  std::map<std::string, double> figures;
  WorldFacts facts;

  const Table& operator[](const std::string& name) const { return tables.at(name); }
};

inline std::unique_ptr<World> MakeWorld(const std::string& name, uint64_t seed,
                                        const std::vector<std::string>& knobs) {
  const auto kind = FindWorld(name);
  REQUIRE(kind.ok());
  const auto values = MakeKnobs(**kind, seed, knobs, 0);
  INFO(values.status());
  REQUIRE(values.ok());
  auto world = (*kind)->make(*values);
  INFO(world.status());
  REQUIRE(world.ok());
  return std::move(world).value();
}

inline GeneratedWorld Generate(const std::string& name, uint64_t seed,
                               const std::vector<std::string>& knobs) {
  const std::unique_ptr<World> world = MakeWorld(name, seed, knobs);
  const std::vector<WorldFile> files = world->files();
  std::vector<std::string> texts(files.size());
  Figures figures(world->figures());
  for (int64_t unit = 0; unit < world->num_units(); ++unit) {
    UnitFigures part;
    world->WriteUnit(unit, &texts, &part);
    figures.Add(part);
  }
  GeneratedWorld generated;
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string stem = files[i].name.substr(0, files[i].name.find('.'));
    generated.tables[stem] = Table(files[i].header, texts[i]);
  }
  for (size_t i = 0; i < figures.names().size(); ++i) {
    generated.figures[figures.names()[i].name] = figures.At(static_cast<int>(i));
  }
  generated.facts = world->Facts(figures);
  return generated;
}

// How many standard deviations the sum of independent yes-or-no outcomes lies from what
// their probabilities say.
inline double Deviations(const std::vector<double>& outcomes,
                         const std::vector<double>& probabilities) {
  REQUIRE(outcomes.size() == probabilities.size());
  double difference = 0.0;
  double variance = 0.0;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    difference += outcomes[i] - probabilities[i];
    variance += probabilities[i] * (1.0 - probabilities[i]);
  }
  return difference / std::sqrt(variance);
}

// Chance 7e-6 for a true statement to be refused; and seeds are fixed.
constexpr double kDeviationsMax = 4.5;

// Clicks follow the column `oracle`, over all rows and within each half of the scores.
inline void CheckClicks(const Table& test) {
  const std::vector<double> clicks = test.Numbers("click");
  const std::vector<double> oracle = test.Numbers("oracle");
  CHECK(std::fabs(Deviations(clicks, oracle)) < kDeviationsMax);
  std::vector<double> sorted = oracle;
  std::sort(sorted.begin(), sorted.end());
  const double median = sorted[sorted.size() / 2];
  std::vector<double> high_clicks, high_oracle;
  for (size_t i = 0; i < clicks.size(); ++i) {
    if (oracle[i] < median) continue;
    high_clicks.push_back(clicks[i]);
    high_oracle.push_back(oracle[i]);
  }
  CHECK(std::fabs(Deviations(high_clicks, high_oracle)) < kDeviationsMax);
}

}  // namespace pagoda

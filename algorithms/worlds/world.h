// A generated world: files whose rows follow a known rule, with the truth beside
// the test's labels. docs/worlds.md says what each world plants.
//
// A world is cut into units (a block of users, of rows). A unit's text is a function of
// seed, knobs and the unit's number, so that units can be written in any order, on any
// thread, and a world of 1e9 rows needs the memory of a unit. A file is the text of all
// units in order.
//
// Threads: WriteUnit may be called by many at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/worlds/figures.h"
#include "algorithms/worlds/knobs.h"

namespace pagoda {

struct WorldFile {
  std::string name;    // "train.csv"
  std::string header;  // Column names between commas, without the line end.
};

// Things worth knowing that are no mean: name, and value as JSON.
using WorldFacts = std::vector<std::pair<std::string, std::string>>;

class World {
 public:
  virtual ~World() = default;

  virtual std::vector<WorldFile> files() const = 0;
  virtual std::vector<FigureName> figures() const = 0;
  virtual int64_t num_units() const = 0;
  // Appends the unit's rows to texts[i], i as in files(), and adds to its figures.
  //   REQUIRES: 0 <= unit < num_units(); texts has the size of files().
  virtual void WriteUnit(int64_t unit, std::vector<std::string>* texts,
                         UnitFigures* figures) const = 0;
  // What the world wants to say in world.json beside its figures.
  virtual WorldFacts Facts(const Figures& figures) const { return {}; }
};

// A world by name.
struct WorldKind {
  std::string name;
  std::string summary;  // One line for --help.
  std::vector<Knob> knobs;
  std::vector<Variant> variants;  // The first is the default.
  std::string size_knob;          // What --rows sets.
  // Rows of train.csv for each of size_knob, about.
  std::function<double(const KnobValues&)> rows_per_size;
  //   INVALID_ARGUMENT  knobs that do not go together
  std::function<absl::StatusOr<std::unique_ptr<World>>(const KnobValues&)> make;
};

// All worlds, in the order of docs/worlds.md.
const std::vector<WorldKind>& AllWorlds();

//   NOT_FOUND  no such world (names the nearest, and all)
absl::StatusOr<const WorldKind*> FindWorld(const std::string& name);

// Knobs of `kind`; with rows > 0 size_knob is then set so that train.csv gets about `rows`.
//   INVALID_ARGUMENT  as KnobValues::Make; rows that size_knob's range does not allow
absl::StatusOr<KnobValues> MakeKnobs(const WorldKind& kind, uint64_t seed,
                                     const std::vector<std::string>& assignments, int64_t rows);

}  // namespace pagoda

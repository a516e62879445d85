// `pagoda table evict`: rows leave a stopped server's table for good.

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "deploy/commands.h"
#include "deploy/stored_rows.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<EvictionRule> RuleOf(const TableEvictArguments& arguments) {
  EvictionRule rule;
  rule.now = arguments.now_step;
  rule.unused_steps = arguments.unused_steps;
  rule.updates_min = arguments.updates_min;
  rule.norm_min = arguments.norm_min;
  rule.score_min = arguments.score_min;
  rule.score_half_life = arguments.score_half_life;
  rule.rows_max = arguments.rows_max;
  PAGODA_ASSIGN_OR_RETURN(rule.order, ParseEvictionOrder(arguments.order));
  return rule;
}

//   NOT_FOUND  names the tables there are
absl::StatusOr<uint32_t> IndexOf(const std::vector<TableOptions>& tables, const std::string& name) {
  std::vector<std::string> names;
  for (uint32_t t = 0; t < tables.size(); ++t) {
    if (tables[t].name == name) return t;
    names.push_back(tables[t].name);
  }
  return absl::NotFoundError(
      absl::StrCat("there is no table '", name, "'; tables: ", absl::StrJoin(names, ", ")));
}

}  // namespace

absl::StatusOr<int> RunTableEvict(const TableEvictArguments& arguments) {
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> directories,
                          StoreDirectories(arguments.path));
  const std::string& store_path = directories[0];
  if (directories.size() != 1 || !fs::exists(store_path + "/CURRENT")) {
    return absl::FailedPreconditionError(
        absl::StrCat(arguments.path,
                     " is not a server's data directory; a cut keeps the rows it was made with"));
  }
  StoreOptions options;
  options.path = store_path;
  options.evicts_by_policy = false;
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<EmbeddingStore> store,
                          EmbeddingStore::Open(options));
  const std::vector<TableOptions> tables = store->tables();
  PAGODA_ASSIGN_OR_RETURN(const uint32_t table, IndexOf(tables, arguments.table));
  PAGODA_ASSIGN_OR_RETURN(EvictionRule rule, RuleOf(arguments));
  if (!rule.sets_anything()) {
    const Step now = rule.now;
    rule = tables[table].eviction.rule;
    rule.now = now;
    if (!rule.sets_anything()) {
      return absl::InvalidArgumentError(
          absl::StrCat("table '", arguments.table,
                       "' has no eviction criteria of its own, so give some: --unused-steps, "
                       "--updates-min, --norm-min, --score-min or --rows-max"));
    }
  }
  PAGODA_ASSIGN_OR_RETURN(const EvictionResult result, store->Evict(table, rule));
  absl::PrintF("%s: evicted %d of %d rows\n", arguments.table, result.evicted, result.rows_before);
  return 0;
}

}  // namespace pagoda

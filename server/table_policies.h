// A table's admission and eviction as they travel (TableSpec) and as the store has them.
// Threads: pure functions.
#pragma once

#include "absl/status/status.h"
#include "embedding_store/table_options.h"
#include "proto/parameter_server.pb.h"

namespace pagoda {

// Messages that were not sent mean none.
//   INVALID_ARGUMENT  an unknown kind or order
absl::Status TakePolicies(const proto::TableSpec& spec, TableOptions* options);

// Sets the messages only where there is something to say.
void SetPolicies(const TableOptions& options, proto::TableSpec* spec);

}  // namespace pagoda

// The job file's keys of admission and eviction ([sparse] and [table.NAME]), and how they
// travel to the servers. Threads: pure functions.
#pragma once

#include <string>

#include "deploy/job_keys.h"
#include "embedding_store/table_options.h"
#include "proto/parameter_server.pb.h"

namespace pagoda {

// `kind` and `order` of the two are given by name.
struct TablePolicyFields {
  std::string admission_kind = "none";
  AdmissionOptions admission;
  std::string evict_order = "oldest";
  EvictionPolicy eviction;
};

// `fields` must outlive `keys`.
void AddTablePolicies(JobKeys& keys, TablePolicyFields& fields);

// Only what is not the default is set.
//   REQUIRES: names that the keys' values allow.
void SetPolicySpecs(const TablePolicyFields& fields, proto::TableSpec* spec);

}  // namespace pagoda

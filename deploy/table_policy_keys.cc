#include "deploy/table_policy_keys.h"

#include "server/table_policies.h"

namespace pagoda {
namespace {

constexpr double kStepsMax = 1e15;

void AddAdmission(JobKeys& keys, TablePolicyFields& fields) {
  AdmissionOptions& admission = fields.admission;
  keys.Add("admission", &fields.admission_kind, "",
           "Which ids get a row: none: every one that is pushed; frequency: one that appears often "
           "enough; probability: one that is drawn. Until then it reads as its initial value and "
           "its gradients are dropped and counted. Not with exact.")
      .OneOf({"none", "frequency", "probability"});
  keys.Add("admission_count", &admission.count, "steps",
           "frequency: the step in which an id appears for this time gives it a row.")
      .Between(2, 255);
  keys.Add("admission_window_steps", &admission.window_steps, "steps",
           "frequency: after so many steps counts are halved.")
      .Between(1, kStepsMax);
  keys.Add(
          "admission_sketch_mib", &admission.sketch_mib, "MiB",
          "frequency: memory for the counts on each server, of server.memory_mb; about 4 bytes for "
          "each id refused in a window keep them right.")
      .Between(1, 4096);
  keys.Add("admission_probability", &admission.probability, "",
           "probability: of each step in which the id appears.")
      .MoreThan(0)
      .AtMost(1);
}

void AddEvictionRule(JobKeys& keys, TablePolicyFields& fields) {
  EvictionRule& rule = fields.eviction.rule;
  keys.Add("evict_unused_steps", &rule.unused_steps, "steps",
           "Evicts rows that no step touched for longer; 0: any age stays.")
      .Between(0, kStepsMax);
  keys.AddCustom({"evict_updates_min", int64_t{rule.updates_min}, "steps",
                  "Evicts rows that fewer steps touched; 0: off."},
                 [&rule](const OptionValue& value) {
                   rule.updates_min = static_cast<uint32_t>(std::get<int64_t>(value));
                 })
      .Between(0, 4294967295.0);
  keys.Add("evict_norm_min", &rule.norm_min, "",
           "Evicts rows whose weights have an L2 norm below; 0: off.")
      .AtLeast(0);
  keys.Add("evict_score_min", &rule.score_min, "",
           "Evicts rows whose score is below: the steps that touched it, halved for every "
           "evict_score_half_life steps since; 0: off.")
      .AtLeast(0);
  keys.Add("evict_score_half_life", &rule.score_half_life, "steps", "See evict_score_min.")
      .Between(1, kStepsMax);
}

void AddEvictionTriggers(JobKeys& keys, TablePolicyFields& fields) {
  EvictionPolicy& policy = fields.eviction;
  keys.Add("evict_rows_max", &policy.rule.rows_max, "rows",
           "Above so many rows on a server it evicts, down to nine tenths; 0: no limit.")
      .Between(0, kStepsMax);
  keys.AddCustom({"evict_disk_mb", policy.bytes_disk_max >> 20, "MiB",
                  "The same by the bytes of the table's rows as stored on a server; 0: no limit."},
                 [&policy](const OptionValue& value) {
                   policy.bytes_disk_max = std::get<int64_t>(value) << 20;
                 })
      .Between(0, 1 << 30);
  keys.Add("evict_order", &fields.evict_order, "",
           "Which rows the two limits send away first; smallest: by L2 norm.")
      .OneOf({"oldest", "least_frequent", "lowest_score", "smallest"});
  keys.Add("evict_every_steps", &policy.every_steps, "steps",
           "Servers look for rows to evict at each multiple of this; 0: never.")
      .Between(0, kStepsMax);
  keys.Add("evict_every_s", &policy.every_seconds, "seconds",
           "Servers look for rows to evict so often; 0: never.")
      .Between(0, 1e9);
}

}  // namespace

void AddTablePolicies(JobKeys& keys, TablePolicyFields& fields) {
  AddAdmission(keys, fields);
  AddEvictionRule(keys, fields);
  AddEvictionTriggers(keys, fields);
}

void SetPolicySpecs(const TablePolicyFields& fields, proto::TableSpec* spec) {
  TableOptions options;
  options.admission = fields.admission;
  options.admission.kind = ParseAdmissionKind(fields.admission_kind).value();
  options.eviction = fields.eviction;
  options.eviction.rule.order = ParseEvictionOrder(fields.evict_order).value();
  SetPolicies(options, spec);
}

}  // namespace pagoda

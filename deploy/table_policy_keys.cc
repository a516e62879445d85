#include "deploy/table_policy_keys.h"

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
  if (fields.admission_kind != "none") {
    proto::TableSpec::Admission& to = *spec->mutable_admission();
    to.set_kind(fields.admission_kind);
    to.set_count(fields.admission.count);
    to.set_window_steps(fields.admission.window_steps);
    to.set_sketch_mib(fields.admission.sketch_mib);
    to.set_probability(fields.admission.probability);
  }
  const EvictionPolicy& eviction = fields.eviction;
  if (eviction == EvictionPolicy()) return;
  proto::TableSpec::Eviction& to = *spec->mutable_eviction();
  to.set_every_steps(eviction.every_steps);
  to.set_every_seconds(eviction.every_seconds);
  to.set_bytes_disk_max(eviction.bytes_disk_max);
  to.set_unused_steps(eviction.rule.unused_steps);
  to.set_updates_min(eviction.rule.updates_min);
  to.set_norm_min(eviction.rule.norm_min);
  to.set_score_min(eviction.rule.score_min);
  to.set_score_half_life(eviction.rule.score_half_life);
  to.set_rows_max(eviction.rule.rows_max);
  to.set_order(fields.evict_order);
}

}  // namespace pagoda

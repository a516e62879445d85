#include "server/table_policies.h"

#include "base/status_macros.h"

namespace pagoda {

absl::Status TakePolicies(const proto::TableSpec& spec, TableOptions* options) {
  if (spec.has_admission()) {
    const proto::TableSpec::Admission& from = spec.admission();
    AdmissionOptions& to = options->admission;
    PAGODA_ASSIGN_OR_RETURN(to.kind, ParseAdmissionKind(from.kind()));
    if (to.kind == AdmissionKind::kFrequency) {
      to.count = from.count();
      to.window_steps = from.window_steps();
      to.sketch_mib = from.sketch_mib();
    }
    if (to.kind == AdmissionKind::kProbability) to.probability = from.probability();
  }
  if (!spec.has_eviction()) return absl::OkStatus();
  const proto::TableSpec::Eviction& from = spec.eviction();
  EvictionPolicy& to = options->eviction;
  to.every_steps = from.every_steps();
  to.every_seconds = from.every_seconds();
  to.bytes_disk_max = from.bytes_disk_max();
  to.rule.unused_steps = from.unused_steps();
  to.rule.updates_min = from.updates_min();
  to.rule.norm_min = from.norm_min();
  to.rule.score_min = from.score_min();
  to.rule.score_half_life = from.score_half_life();
  to.rule.rows_max = from.rows_max();
  PAGODA_ASSIGN_OR_RETURN(to.rule.order, ParseEvictionOrder(from.order()));
  return absl::OkStatus();
}

void SetPolicies(const TableOptions& options, proto::TableSpec* spec) {
  const AdmissionOptions& admission = options.admission;
  if (admission.kind != AdmissionKind::kNone) {
    proto::TableSpec::Admission& to = *spec->mutable_admission();
    to.set_kind(AdmissionKindName(admission.kind));
    to.set_count(admission.count);
    to.set_window_steps(admission.window_steps);
    to.set_sketch_mib(admission.sketch_mib);
    to.set_probability(admission.probability);
  }
  const EvictionPolicy& eviction = options.eviction;
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
  to.set_order(EvictionOrderName(eviction.rule.order));
}

}  // namespace pagoda

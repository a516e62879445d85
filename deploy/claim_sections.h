// The keys of a claim file's sections, with their types and limits (claim_file.h).
//
// A key that begins with fast_ overrides the same key without it in a --fast run.
//
// Threads: pure functions.
#pragma once

#include "absl/status/status.h"
#include "deploy/claim_file.h"
#include "deploy/job_file_toml.h"

namespace pagoda {

// Fills `claim` from the document, section by section, with nothing checked between
// sections: claim_file.cc does that.
//   INVALID_ARGUMENT  an unknown section or key, a value of another type or out of range;
//                     names file, line and key
absl::Status FillClaim(const JobDocument& document, bool fast, Claim* claim);

// "column == value"   INVALID_ARGUMENT  of another form
absl::StatusOr<ClaimFilter> ParseClaimFilter(const std::string& text);

}  // namespace pagoda

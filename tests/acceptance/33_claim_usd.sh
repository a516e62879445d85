#!/usr/bin/env bash
# `pagoda claim usd`: verdict PASS on five seeds that derive from the claim's own bytes, with
# the null control inside its band (algorithms/usd/claim.toml, docs/claims.md).
. "$(dirname "$0")/lib.sh"
claim_holds usd

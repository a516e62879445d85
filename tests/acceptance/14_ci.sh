#!/usr/bin/env bash
# CI is green on a fresh clone in under 30 minutes on 2 cores, ASan+UBSan included,
# with no compiler cache.
. "$(dirname "$0")/lib.sh"
git clone -q "$ROOT" "$SCRATCH/pagoda"
begin=$SECONDS
cd "$SCRATCH/pagoda"
CI=true CCACHE_DISABLE=1 PAGODA_DATA_DIR="$PAGODA_DATA_DIR" bash .ci/run < /dev/null \
  > "$SCRATCH/ci.log" 2>&1 || { tail -n 40 "$SCRATCH/ci.log"; not_met "CI failed"; }
seconds=$((SECONDS - begin))
grep -E '^=== .*: [0-9]+ s' "$SCRATCH/ci.log"
[ $seconds -lt 1800 ] || not_met "$seconds s"
echo "green in $seconds s from a fresh clone"

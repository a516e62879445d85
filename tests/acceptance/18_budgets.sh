#!/usr/bin/env bash
# Memory and disk stay within their budgets (tests/faults/budget_run.cc): a table of 20 times
# the memory budget is created, then pushed to and pulled from for 10 minutes, with cuts;
# RssAnon + RssShmem less an empty store's is at most the budget and 10 %. Then a store with
# a disk budget refuses pushes, takes them again after rows were evicted, and never passes it.
#   SECONDS_LONG (600), MEMORY_MB (256), TIMES (20), DISK_SECONDS (30): shorter runs.
#   BIN: where budget_run is, if it is built already.
. "$(dirname "$0")/lib.sh"
if [ -z "${BIN:-}" ]; then
  build budget_run
  BIN="$ROOT/build/release/tests/faults"
fi
memory="${MEMORY_MB:-256}"
times="${TIMES:-20}"
run() {  # run NAME OPTIONS...
  local name="$1"
  shift
  "$BIN/budget_run" "$SCRATCH/$name" --memory-mb "$memory" "$@" 2> "$SCRATCH/$name.err" \
    | tee "$SCRATCH/$name.log" || { tail -n 5 "$SCRATCH/$name.err"; not_met "$name: $(tail -n 1 "$SCRATCH/$name.log")"; }
  rm -rf "${SCRATCH:?}/$name"
}
# Twice: long rows, and the short ones of which there are most.
run long --times "$times" --seconds "${SECONDS_LONG:-600}" --dim 32
run short --times "$((times / 4))" --seconds "$((${SECONDS_LONG:-600} / 10 + 1))" --dim 4
# Rows for half of the disk budget; the rest of it a merge needs.
run disk --times 2 --seconds "${DISK_SECONDS:-30}" --dim 32 --disk-mb "$((memory * 5 / 2))"
grep '^disk' "$SCRATCH/disk.log"
grep -h '^memory' "$SCRATCH"/*.log | sort -t'(' -k2 -n | tail -n 1

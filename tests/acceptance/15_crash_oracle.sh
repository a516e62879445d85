#!/usr/bin/env bash
# A store that pushes, flushes and cuts at full speed is killed with -9 at random moments,
# also while it recovers; after each restart every writer's rows equal, bit for bit, its
# acknowledged pushes plus some prefix of the others, and sending those again applies
# them once (tests/faults/crash_oracle.cc). The same with durability machine on a file
# system that loses what was not synced. The check fails for each broken promise.
#   KILLS (default 200) sets the number, SEED the moments.
. "$(dirname "$0")/lib.sh"
build crash_oracle
kills="${KILLS:-200}"
seed="${SEED:-$((RANDOM * 32768 + RANDOM + 1))}"
ORACLE="$ROOT/build/release/tests/faults/crash_oracle"

for durability in process machine; do
  "$ORACLE" "$SCRATCH" --kills "$kills" --seed "$seed" --durability $durability 2> "$SCRATCH/err" \
    || { tail -n 20 "$SCRATCH/err"; not_met "durability $durability, seed $seed"; }
done

mutants=0
must_fail() {  # must_fail OPTIONS...
  local out code=0
  # Ends with the first kill that shows it; few kills may show none.
  out="$("$ORACLE" "$SCRATCH" --kills 400 --seed "$seed" "$@" 2> "$SCRATCH/err")" || code=$?
  echo "$*: $(tail -n 1 <<< "$out")"
  [ $code -eq 1 ] || not_met "the check does not see $* (exit $code)"
  mutants=$((mutants + 1))
}
for mutant in no_log no_guard early_ack no_window; do must_fail --mutant $mutant; done
for mutant in no_sync early_ack no_window; do must_fail --durability machine --mutant $mutant; done
echo "$kills kills and $kills power cuts: every acknowledged push there, once, bit for bit; $mutants of $mutants mutants seen (seed $seed)"

#!/usr/bin/env bash
# The errors of `pagoda plan` against a real run of the same job.
#
#   tests/benchmarks/plan_check.sh [JOB.TOML [STEPS]]     default: the DeepFM of algorithms/, 400
#
# The plan is made from 50 batches; ids are given as the run ended up with, so that the
# formulas are measured and not the guess of how many ids there are (which is printed
# by itself). Network: bytes over the loopback device while `pagoda launch` trains, so
# run it on a machine that does little else on loopback.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
PAGODA="${PAGODA:-$ROOT/build/release/deploy/pagoda}"
JOB="${1:-$ROOT/algorithms/deepfm/job.toml}"
STEPS="${2:-400}"
SCRATCH="$(mktemp -d)"
trap 'rm -rf "$SCRATCH"' EXIT
options=(--set train.steps_max="$STEPS" --set train.epochs=100000 --set evaluation.every_steps=100000000
         --set server.durability=process --set train.log_every_steps=25)

train() {  # train NAME COMMAND OPTIONS...
  local name="$1" command="$2"
  shift 2
  "$PAGODA" "$command" "$JOB" --set job.output="$SCRATCH/$name" "${options[@]}" "$@" > "$SCRATCH/$name.log" 2>&1 \
    || { tail -n 20 "$SCRATCH/$name.log"; exit 1; }
}
loopback() { awk '$1 == "lo:" {print $2}' /proc/net/dev; }

train run train
server="$SCRATCH/run/server-0"
"$PAGODA" table stat "$server" > "$SCRATCH/stat"
ids=()
while read -r table rows; do ids+=(--ids "$table=$rows"); done \
  < <(sed -nE 's/^(\S+)  dim .* rows ([0-9]+)  .*/\1 \2/p' "$SCRATCH/stat")
"$PAGODA" table compact "$server" > /dev/null
disk="$(find "$server/store" -name '*.sst' -printf '%s\n' | awk '{n += $1} END {print n}')"
# Of the training steps alone: evaluation and cuts are not in the plan. The first line
# is of the start; the median of the others.
rate="$(sed -nE 's/^step .* samples\/s ([0-9]+) .*/\1/p' "$SCRATCH/run.log" | tail -n +2 | sort -n \
  | awk '{a[NR] = $1} END {print a[int((NR + 1) / 2)]}')"
# The log, as kill -9 leaves it before the first flush.
"$PAGODA" train "$JOB" --set job.output="$SCRATCH/killed" "${options[@]}" --set train.steps_max=0 \
  --trace "$SCRATCH/trace" > "$SCRATCH/killed.log" 2>&1 &
pid=$!
while [ "$(cat "$SCRATCH/trace" 2> /dev/null | wc -l)" -lt 150 ]; do sleep 0.02; done
kill -9 $pid
wait $pid 2> /dev/null || true
log=$(($(find "$SCRATCH/killed" -name '*.log' -path '*/store/*' -printf '%s\n' | awk '{n += $1} END {print n}') \
  / $(wc -l < "$SCRATCH/trace")))
before="$(loopback)"
train launched launch --servers 1 --workers 1
network=$((($(loopback) - before) / STEPS))

"$PAGODA" plan "$JOB" --set job.output="$SCRATCH/plan" "${options[@]}" --networked "${ids[@]}" > "$SCRATCH/plan.log"
"$PAGODA" plan "$JOB" --set job.output="$SCRATCH/plan" "${options[@]}" > "$SCRATCH/guess.log"
cat "$SCRATCH/plan.log"

bytes() {  # bytes PATTERN: the first "NUMBER UNIT" behind it in the plan.
  grep -E "^$1" "$SCRATCH/plan.log" | head -n 1 | grep -oE '[0-9.]+ ([KMGTP]i)?B' | head -n 1 | awk '
    {f["B"] = 1; f["KiB"] = 1024; f["MiB"] = 1048576; f["GiB"] = 1073741824; printf "%.0f", $1 * f[$2]}'
}
row() { awk -v w="$1" -v p="$2" -v m="$3" 'BEGIN {printf "%-34s %14.0f %14.0f %+8.1f %%\n", w, p, m, 100 * (p - m) / m}'; }
echo
printf '%-34s %14s %14s %10s\n' "" planned measured error
row "ids, guessed from 50 batches" "$(awk '$1 == "all" {print $2}' "$SCRATCH/guess.log")" \
  "$(sed -nE 's/^\S+  dim .* rows ([0-9]+)  .*/\1/p' "$SCRATCH/stat" | awk '{n += $1} END {print n}')"
row "disk of rows, bytes" "$(bytes disk)" "$disk"
row "log, bytes a step" "$(bytes log)" "$log"
row "network, bytes a step" "$(bytes network)" "$network"
row "samples a second" "$(sed -nE 's/^speed .* ([0-9]+) samples.*/\1/p' "$SCRATCH/plan.log")" "$rate"

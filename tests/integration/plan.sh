#!/usr/bin/env bash
# `pagoda plan`: a table and its assumptions; nothing is left behind; numbers given on
# the command line count; tests/benchmarks/plan_check.sh holds it against a real run.
. "$(dirname "$0")/lib.sh"

run plan 0 "$PAGODA" plan "$JOB" --set job.output="$SCRATCH/out" --sample-batches 12
says plan '^table +dim +ids'
says plan '^occupation +4 +1[0-9] '
says plan '^memory .* 100.0 % of all rows'
says plan '^network  none'
says plan '^speed +[0-9.]+ steps a second, [0-9]+ samples a second'
says plan 'a lower bound; give --ids'
[ -z "$(ls -A "$SCRATCH" | grep -v '\.log$')" ] || fail "plan left $(ls -A "$SCRATCH")"

run given 0 "$PAGODA" plan "$JOB" --set job.output="$SCRATCH/out" --sample-batches 1000000 \
  --ids 1000 --ids occupation=1e9 --steps-per-second 2 --servers 4 --workers 2
says given '^occupation +4 +1.00 G '
says given '^relationship +4 +1000 '
says given '^network +[0-9.]+ KiB a step and worker, '
says given '^speed +2.0 steps a second, 512 samples a second'
says given 'steps a second: as given'
run whole 0 "$PAGODA" plan "$JOB" --set job.output="$SCRATCH/out" --sample-batches 1000000 --steps-per-second 1
says whole 'which the sample covers'
run unknown 1 "$PAGODA" plan "$JOB" --set job.output="$SCRATCH/out" --ids nobody=5
says unknown "no table 'nobody'"
run bad 1 "$PAGODA" plan "$JOB" --set job.output="$SCRATCH/out" --ids many
says bad 'neither a number'
echo "a plan says what it knows and what it assumes"

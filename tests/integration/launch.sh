#!/usr/bin/env bash
# `pagoda launch`: two servers and two workers end in good order, sync and async; one
# launched worker gives the bits of one process; the cut can be read afterwards.
. "$(dirname "$0")/lib.sh"

run embedded 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/embedded" --trace "$SCRATCH/a"
run one 0 "$PAGODA" launch "$JOB" --servers 2 --workers 1 --set job.output="$SCRATCH/one" \
  --trace "$SCRATCH/b"
[ "$(wc -l < "$SCRATCH/a")" -eq 40 ] || fail "the trace has not 40 steps"
cmp "$SCRATCH/a" "$SCRATCH/b" || fail "two launched servers differ from one embedded"

for mode in sync async; do
  run $mode 0 "$PAGODA" launch "$JOB" --servers 2 --workers 2 \
    --set job.output="$SCRATCH/$mode" --set train.mode=$mode
  for process in server-0 server-1 worker-0 worker-1; do
    says $mode "^$process started, pid [0-9]+$"
    says $mode "^$process finished$"
    [ -s "$SCRATCH/$mode/logs/$process.log" ] || fail "$mode: no log of $process"
  done
  says $mode "^step 40  loss "
  says $mode "^best cut: "
  cut="$(sed -n 's/^best cut: //p' "$SCRATCH/$mode.log")"
  run verify-$mode 0 "$PAGODA" checkpoint verify "$cut"
  run evaluate-$mode 0 "$PAGODA" evaluate --cut "$cut" --input test
  says evaluate-$mode '^test: AUC 0\.[89]'
done
# [launch] of the job file says how many, when the command line does not.
run counts 0 "$PAGODA" launch "$JOB" --set job.output="$SCRATCH/counts" --set launch.servers=2
says counts "^server-1 finished$"
! grep -q worker-1 "$SCRATCH/counts.log" || fail "one worker was asked for"
echo "launched jobs end in good order"

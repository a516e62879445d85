#!/usr/bin/env bash
# Training 400 steps = training 200, stopping, resuming 200, to the last bit (sync, one
# worker); also when the first run is killed with -9 between cuts.
. "$(dirname "$0")/lib.sh"
build
job=algorithms/deepfm/job.toml
run() {  # run OUTPUT STEPS OPTIONS...
  local out="$1" steps="$2"
  shift 2
  "$PAGODA" train "$job" --set job.output="$SCRATCH/$out" --set train.steps_max="$steps" \
    --set train.mode=sync --set train.epochs=1000 --set train.checkpoint_every_steps=100 \
    --set evaluation.every_steps=150 --set evaluation.patience=0 "$@" > "$SCRATCH/$out.log" 2>&1
}
hash_of() { "$PAGODA" checkpoint verify "$(ls -d "$SCRATCH/$1"/cuts/step-000000400* | tail -n 1)" --hash; }
run whole 400 || { tail "$SCRATCH/whole.log"; exit 1; }
run halves 200 && run halves 400 --resume || { tail "$SCRATCH/halves.log"; exit 1; }
[ "$(hash_of whole)" = "$(hash_of halves)" ] || not_met "200 + 200 differs from 400"

# Killed between two cuts: as soon as step 230 is logged.
run killed 400 --set train.log_every_steps=10 &
pid=$!
for _ in $(seq 600); do
  grep -qE 'step 2[3-9]0' "$SCRATCH/killed.log" 2> /dev/null && break
  sleep 0.05
done
pkill -9 -f "job.output=$SCRATCH/killed" || not_met "nothing to kill"
wait $pid 2> /dev/null || true
! ls -d "$SCRATCH"/killed/cuts/step-000000400* > /dev/null 2>&1 || not_met "the run had ended before the kill"
run killed 400 --resume || { tail "$SCRATCH/killed.log"; exit 1; }
[ "$(hash_of whole)" = "$(hash_of killed)" ] || not_met "resuming after kill -9 differs"
echo "identical: $(hash_of whole | tr '\n' ' ')"

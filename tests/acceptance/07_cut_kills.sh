#!/usr/bin/env bash
# Kills at random moments of a 2+2 async job that cuts often: every listed cut is always
# complete, its checksums right, and the job resumes from the newest. (That a cut equals
# the drained state is not compared here; tests/worker/trainer_test.cc and
# cut_keeper_test.cc look at the draining.)
#   KILLS (default 100) sets the number.
. "$(dirname "$0")/lib.sh"
build
kills="${KILLS:-100}"
seed="${SEED:-$RANDOM}"
RANDOM=$seed
echo "seed $seed"
job=algorithms/deepfm/job.toml
out="$SCRATCH/run"
verified=0
for ((i = 1; i <= kills; ++i)); do
  resume=()
  if "$PAGODA" checkpoint list "$out" 2> /dev/null | grep -q step-; then resume=(--resume); fi
  setsid "$PAGODA" launch "$job" --servers 2 --workers 2 "${resume[@]}" \
    --set job.output="$out" --set train.mode=async --set train.epochs=100000 \
    --set train.checkpoint_every_steps=5 --set train.checkpoints_kept=3 \
    --set evaluation.every_steps=1000000 > "$SCRATCH/log" 2>&1 &
  leader=$!
  sleep "$(awk -v r=$RANDOM 'BEGIN {printf "%.3f", 1.0 + 3.0 * r / 32768}')"
  # The whole process group at once: launcher, servers and workers.
  kill -9 -- "-$leader" 2> /dev/null || { tail "$SCRATCH/log"; not_met "kill $i: the job had ended"; }
  wait "$leader" 2> /dev/null || true
  for cut in $("$PAGODA" checkpoint list "$out" 2> /dev/null | grep -oE "^[^ ]*step-[^ ]+" | sort -u); do
    "$PAGODA" checkpoint verify "$cut" > "$SCRATCH/verify" 2>&1 \
      || { cat "$SCRATCH/verify"; not_met "kill $i: $cut is listed and not complete"; }
    verified=$((verified + 1))
  done
done
[ "$verified" -gt "$kills" ] || not_met "only $verified cuts were there to verify"
echo "$kills kills, $verified listed cuts verified, none incomplete (seed $seed)"

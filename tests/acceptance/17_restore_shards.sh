#!/usr/bin/env bash
# Restoring 1 -> 3 and 4 -> 1 stores, then 100 more pushes: bit-identical to never
# having moved; stores, and whole jobs over processes.
. "$(dirname "$0")/lib.sh"
build pagoda embedding_store_test
./build/release/tests/embedding_store/embedding_store_test \
  "moving to another number of shards and 100 more pushes give the bits of staying,shards that have pushed unequally go on above the highest sequence" \
  > "$SCRATCH/stores.log" || { tail -n 30 "$SCRATCH/stores.log"; not_met "stores differ"; }
PAGODA="$PAGODA" bash tests/integration/restore_shards.sh > "$SCRATCH/jobs.log" 2>&1 \
  || { tail -n 30 "$SCRATCH/jobs.log"; not_met "jobs differ"; }

job=algorithms/deepfm/job.toml
run() {  # run OUTPUT STEPS OPTIONS...
  local out="$1" steps="$2"
  shift 2
  "$PAGODA" train "$job" --set job.output="$SCRATCH/$out" --set train.steps_max="$steps" \
    --set train.mode=sync --set train.epochs=1000 --set evaluation.every_steps=1000000 \
    --set evaluation.patience=0 "$@" > "$SCRATCH/$out.log" 2>&1 || { tail "$SCRATCH/$out.log"; exit 1; }
}
hash_of() {
  "$PAGODA" checkpoint verify "$(ls -d "$SCRATCH/$1"/cuts/step-000000200* | tail -n 1)" --hash | grep -E '^(dense|rows) '
}
same() {  # same NAME OPTIONS...: of a job with these options.
  local name="$1" moved
  shift
  run "$name-stayed" 200 "$@"
  run "$name-grown" 100 "$@" && run "$name-grown" 200 --resume --servers 3 "$@"
  run "$name-shrunk" 100 --servers 4 "$@" && run "$name-shrunk" 200 --resume --servers 1 "$@"
  for moved in grown shrunk; do
    [ "$(hash_of "$name-stayed")" = "$(hash_of "$name-$moved")" ] \
      || not_met "$name: $moved differs from never having moved"
  done
  echo "$name identical: $(hash_of "$name-stayed" | tr '\n' ' ')"
}
same plain
same exact --set sparse.optimizer=adamw --set sparse.exact=true --set sparse.weight_decay=0.01

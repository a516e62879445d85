#!/usr/bin/env bash
# The published systems in sync mode: a job gives the same losses embedded and launched with one
# worker, and with 2 servers and 2 workers the same tables and dense parameters up to the order
# of summation: per tensor and table max|a-b| <= 1e-3 max|b| after 20 steps. Drawn items and
# dropout are the same in every layout.
#   MODELS  which of them: names of folders in algorithms/, or NAME:STAGE for one stage of a job
. "$(dirname "$0")/lib.sh"
build
models="${MODELS:-din sasrec gpsd:pretrain gpsd:rank usd msnet usm lrea}"
steps=20

worst=0
for entry in $models; do
  model="${entry%%:*}"
  stage="${entry#"$model"}"
  stage="${stage#:}"
  name="$model${stage:+-$stage}"
  job="algorithms/$model/job.toml"
  [ -f "$job" ] || cannot_run "$job is not there"
  # Adagrad from above zero and a large epsilon: a last bit then decides no sign (05_same_numbers.sh).
  options=(--set train.mode=sync --set train.steps_max=$steps --set train.epochs=100
           --set evaluation.every_steps=1000000
           --set sparse.optimizer=adagrad --set sparse.initial_accumulator=0.1
           --set dense.optimizer=adagrad --set dense.learning_rate=0.01 --set dense.epsilon=0.001)
  # A later stage begins from what embedded training of those before it left.
  start=()
  run() {  # run LAYOUT COMMAND OPTIONS...
    local layout="$1" command="$2" output="$SCRATCH/$name-$1"
    shift 2
    "$PAGODA" "$command" "$job" "${options[@]}" --set job.output="$output" "${start[@]}" \
      --trace "$output.trace" "$@" > "$output.log" 2>&1 \
      || { tail -n 20 "$output.log"; not_met "$name, $layout: did not run"; }
    [ "$(wc -l < "$output.trace")" -eq $steps ] || not_met "$name, $layout: not $steps losses"
  }
  [ -n "$stage" ] && start=(--stage "$stage")
  run embedded train --servers 1 --set train.threads=2
  run servers train --servers 3 --set train.threads=1
  run launched launch --servers 2 --workers 1
  run two launch --servers 2 --workers 2
  for layout in servers launched; do
    cmp "$SCRATCH/$name-embedded.trace" "$SCRATCH/$name-$layout.trace" \
      || not_met "$name: losses of '$layout' differ from those of one process"
  done
  cut() { ls -d "$SCRATCH/$name-$1${stage:+/$stage}/cuts/step-0000000$steps"; }
  ratio="$("$PAGODA" checkpoint diff "$(cut two)" "$(cut embedded)" | tail -n 1 \
    | grep -oE '[0-9.e+-]+$')"
  echo "$name: two workers on two servers differ by $ratio of the largest value"
  awk -v r="$ratio" 'BEGIN {exit !(r <= 1e-3)}' || not_met "$name: two workers differ by $ratio"
  worst="$(awk -v a="$worst" -v b="$ratio" 'BEGIN {print (b > a) ? b : a}')"
done
echo "$steps losses bit-identical in 3 layouts; two workers differ by at most $worst: $models"

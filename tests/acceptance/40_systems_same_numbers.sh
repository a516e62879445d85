#!/usr/bin/env bash
# The published systems in sync mode: a job gives the same losses embedded on one server and on
# three, and launched with one worker; with 2 servers and 2 workers the same tables and dense
# parameters up to the order of summation: per tensor and table max|a-b| <= 1e-3 max|b| after 20
# steps (of each stage). Drawn items and dropout are the same in every layout.
#   MODELS  which of them: names of folders in algorithms/
. "$(dirname "$0")/lib.sh"
build
models="${MODELS:-din sasrec gpsd usd msnet usm lrea}"
steps=20

worst=0
for model in $models; do
  job="algorithms/$model/job.toml"
  [ -f "$job" ] || cannot_run "$job is not there"
  stages="$(sed -n 's/^\[stage\.\([^.]*\)\]$/\1/p' "$job")"
  last="$(echo "$stages" | tail -n 1)"
  # Adagrad from above zero and a large epsilon: a last bit then decides no sign (05_same_numbers.sh).
  options=(--set train.mode=sync --set train.steps_max=$steps --set train.epochs=100
           --set evaluation.every_steps=1000000
           --set sparse.optimizer=adagrad --set sparse.initial_accumulator=0.1
           --set dense.optimizer=adagrad --set dense.learning_rate=0.01 --set dense.epsilon=0.001)
  # Dice looks at a worker's own part of the batch.
  [ "$model" = din ] && options+=(--set model.activation=tanh)
  # LREA's layer norms divide rows by their own size, and the attended values by theirs: with rows
  # of 0.05 and these rates a last bit grows about five-fold a step (losses agree to 1e-7 for five
  # steps, to 1e-2 after 15), and then max(0, .) or the loss on negative weights switches somewhere.
  # Rows farther from zero and smaller rates leave the order of summation at 1e-5; a wrong part of
  # a gradient would still show, since biases and shifts start at zero.
  [ "$model" = lrea ] && options+=(--set sparse.init_stddev=0.3 --set sparse.learning_rate=0.01
                                   --set dense.learning_rate=0.001)
  run() {  # run LAYOUT COMMAND OPTIONS...
    local layout="$1" command="$2" output="$SCRATCH/$model-$1" stage
    shift 2
    "$PAGODA" "$command" "$job" "${options[@]}" --set job.output="$output" \
      --trace "$output.trace" "$@" > "$output.log" 2>&1 \
      || { tail -n 20 "$output.log"; not_met "$model, $layout: did not run"; }
    for stage in $stages; do cat "$output.trace.$stage" >> "$output.trace"; done
    [ "$(wc -l < "$output.trace")" -eq $((steps * $(echo "$stages" | wc -l))) ] \
      || not_met "$model, $layout: not $steps losses"
  }
  run embedded train --servers 1 --set train.threads=2
  run servers train --servers 3 --set train.threads=1
  run launched launch --servers 2 --workers 1
  run two launch --servers 2 --workers 2
  for layout in servers launched; do
    cmp "$SCRATCH/$model-embedded.trace" "$SCRATCH/$model-$layout.trace" \
      || not_met "$model: losses of '$layout' differ from those of one process"
  done
  cut() { ls -d "$SCRATCH/$model-$1${last:+/$last}/cuts/step-0000000$steps"; }
  # The bias of attention's keys cancels out of the softmax: its values are rounding alone.
  ratio="$("$PAGODA" checkpoint diff "$(cut two)" "$(cut embedded)" | awk '
    /ratio/ && /max\|b\|/ {b = r = $0; sub(/.*max\|b\| /, "", b); sub(/.*ratio /, "", r)
      if (b + 0 > 1e-6) {n++; if (r + 0 > worst) worst = r + 0}}
    END {if (n > 0) printf "%.3e", worst; else print "nan"}')"
  echo "$model: two workers on two servers differ by $ratio of the largest value"
  awk -v r="$ratio" 'BEGIN {exit !(r ~ /^[0-9]/ && r + 0 <= 1e-3)}' || not_met "$model: two workers differ by $ratio"
  worst="$(awk -v a="$worst" -v b="$ratio" 'BEGIN {print (b > a) ? b : a}')"
done
echo "$steps losses bit-identical in 3 layouts; two workers differ by at most $worst: $models"

#!/usr/bin/env bash
# sync mode: the loss curve is bit-identical for 1 and 4 servers, for 1, 2 and 8
# threads, and embedded or launched with one worker; two workers with half the batch
# each match one after 200 steps: per tensor and table max|a-b| <= 1e-4 max|b|.
. "$(dirname "$0")/lib.sh"
build

options=(--set train.mode=sync --set train.steps_max=200 --set evaluation.every_steps=1000000
         --set train.epochs=100)

worst=0
for model in deepfm dlrm; do
  job="algorithms/$model/job.toml"
  run() {  # run NAME COMMAND OPTIONS...
    local name="$1" command="$2"
    shift 2
    "$PAGODA" "$command" "$job" "${options[@]}" --set job.output="$SCRATCH/$model-$name" \
      --set sparse.optimizer=adagrad --set dense.optimizer=adagrad --set dense.learning_rate=0.01 \
      --trace "$SCRATCH/$model-$name.trace" "$@" > "$SCRATCH/$model-$name.log" 2>&1 \
      || { tail -n 20 "$SCRATCH/$model-$name.log"; not_met "$model $name did not run"; }
    [ "$(wc -l < "$SCRATCH/$model-$name.trace")" -eq 200 ] || not_met "$model $name: not 200 losses"
  }
  run one train --servers 1 --set train.threads=2
  run servers4 train --servers 4 --set train.threads=2
  run threads1 train --servers 1 --set train.threads=1
  run threads8 train --servers 1 --set train.threads=8
  run launched launch --servers 1 --workers 1
  run launched4 launch --servers 4 --workers 1
  for name in servers4 threads1 threads8 launched launched4; do
    cmp "$SCRATCH/$model-one.trace" "$SCRATCH/$model-$name.trace" \
      || not_met "$model: losses of '$name' differ from one server, two threads, embedded"
  done
  # Two workers add the same numbers in another order; the comparison keeps what would
  # magnify that last bit out of the way. Adagrad's first update of a coordinate is
  # +-learning_rate however small its gradient, when accumulators start at zero: a last
  # bit then decides a sign. And at ReLU's kink a last bit switches a unit on or off.
  steady=(--set sparse.initial_accumulator=0.1 --set dense.epsilon=0.001
          --set model.activation=tanh)
  run alone train --servers 1 "${steady[@]}"
  run two launch --servers 2 --workers 2 "${steady[@]}"
  a="$(ls -d "$SCRATCH/$model-two"/cuts/step-000000200)"
  b="$(ls -d "$SCRATCH/$model-alone"/cuts/step-000000200)"
  ratio="$("$PAGODA" checkpoint diff "$a" "$b" | tail -n 1 | grep -oE '[0-9.e+-]+$')"
  awk -v r="$ratio" 'BEGIN {exit !(r <= 1e-4)}' || not_met "$model: two workers differ by $ratio"
  worst="$(awk -v a="$worst" -v b="$ratio" 'BEGIN {print (b > a) ? b : a}')"
done
echo "200 losses bit-identical over 6 layouts x 2 models; two workers differ by at most $worst"

#!/usr/bin/env bash
# Two workers on emulated GPUs, with half the batch each and the allreduce, end where one
# with the whole batch does: per tensor and table max|a-b| <= 1e-4 max|b| after 200 steps.
. "$(dirname "$0")/lib.sh"
build="build/emulated"
{ cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPAGODA_CUDA=EMULATED \
    -DPAGODA_GRPC=ON && ninja -C "$build" pagoda; } > "$SCRATCH/build.log" 2>&1 \
  || { tail -n 30 "$SCRATCH/build.log"; exit 1; }
PAGODA="$ROOT/$build/deploy/pagoda"
# As in 05_same_numbers.sh, where it says why.
options=(--set train.mode=sync --set train.steps_max=200 --set train.epochs=100
         --set evaluation.every_steps=1000000 --set train.batch_size=128
         --set train.device=emulated
         --set sparse.optimizer=adagrad --set sparse.initial_accumulator=0.1
         --set dense.optimizer=adagrad --set dense.learning_rate=0.01 --set dense.epsilon=0.001
         --set model.activation=tanh)
worst=0
for model in deepfm dlrm; do
  "$PAGODA" train "algorithms/$model/job.toml" "${options[@]}" \
    --set job.output="$SCRATCH/$model-one" > "$SCRATCH/log" 2>&1 \
    || { tail -n 20 "$SCRATCH/log"; not_met "$model, one worker"; }
  "$PAGODA" launch "algorithms/$model/job.toml" --servers 2 --workers 2 "${options[@]}" \
    --set job.output="$SCRATCH/$model-two" > "$SCRATCH/log" 2>&1 \
    || { tail -n 20 "$SCRATCH/log"; not_met "$model, two workers"; }
  ratio="$("$PAGODA" checkpoint diff "$SCRATCH/$model-two/cuts/step-000000200" \
    "$SCRATCH/$model-one/cuts/step-000000200" | tail -n 1 | grep -oE '[0-9.e+-]+$')"
  awk -v r="$ratio" 'BEGIN {exit !(r <= 1e-4)}' || not_met "$model: they differ by $ratio"
  worst="$(awk -v a="$worst" -v b="$ratio" 'BEGIN {print (b > a) ? b : a}')"
done
echo "two emulated workers and one differ by at most $worst of the largest value after 200 steps"

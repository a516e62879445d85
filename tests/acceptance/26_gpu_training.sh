#!/usr/bin/env bash
# Whole models on the emulated GPU: 200 steps of DeepFM, DCNv2, DLRM and the two-tower end
# with the CPU's tables and dense parameters, with streams that do nothing until they are
# waited for and threads in random order. In bf16, a first step's gradients are within 2^-7
# of those in f32, and the loss after 200 steps within 1 %.
#   BUILD, DEVICE  another build, made before, and its device (build/cuda, cuda:0)
. "$(dirname "$0")/lib.sh"
build="${BUILD:-build/emulated}"
gpu="${DEVICE:-emulated}"
if [ -z "${BUILD:-}" ]; then
  { cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPAGODA_CUDA=EMULATED \
      -DPAGODA_GRPC=ON && ninja -C "$build" pagoda worker_step_test; } > "$SCRATCH/build.log" 2>&1 \
    || { tail -n 30 "$SCRATCH/build.log"; exit 1; }
fi
PAGODA="$ROOT/$build/deploy/pagoda"
if [ "$gpu" = emulated ]; then
  "$build/tests/worker/worker_step_test" "one step's gradients in bf16*" > "$SCRATCH/log" 2>&1 \
    || { tail -n 30 "$SCRATCH/log"; not_met "gradients in bf16"; }
fi
# Adagrad's first update is +-learning_rate however small the gradient, and a unit is on or
# off at ReLU's kink: a last bit would decide. See 05_same_numbers.sh.
options=(--set train.mode=sync --set train.steps_max=200 --set train.epochs=100
         --set evaluation.every_steps=1000000 --set train.batch_size=128
         --set sparse.optimizer=adagrad --set sparse.initial_accumulator=0.1
         --set dense.optimizer=adagrad --set dense.learning_rate=0.01 --set dense.epsilon=0.001
         --set model.activation=tanh)
# train NAME MODEL DEVICE [ARGUMENT...]: leaves $SCRATCH/NAME and NAME.log.
train() {
  local name="$1" model="$2" device="$3"
  shift 3
  PAGODA_GPU_EMULATION="random:$RANDOM,lazy" "$PAGODA" train "algorithms/$model/job.toml" \
    "${options[@]}" --set train.device="$device" --set job.output="$SCRATCH/$name" "$@" \
    > "$SCRATCH/$name.log" 2>&1 || { tail -n 20 "$SCRATCH/$name.log"; not_met "$name"; }
}
# The log-loss of the evaluation; the two-tower has none: its last batch's loss.
loss_of() {
  local loss
  loss="$(grep -oE 'log-loss [0-9.]+' "$SCRATCH/$1.log" | tail -n 1 | grep -oE '[0-9.]+$' || true)"
  echo "${loss:-$(grep -oE 'last loss [0-9.]+' "$SCRATCH/$1.log" | grep -oE '[0-9.]+$')}"
}
worst=0
worst_loss=0
larger() { awk -v a="$1" -v b="$2" 'BEGIN {print (b > a) ? b : a}'; }
for model in deepfm dcnv2 dlrm two_tower; do
  train "$model-cpu" "$model" cpu
  train "$model-gpu" "$model" "$gpu"
  train "$model-bf16" "$model" "$gpu" --set train.dtype=bf16
  ratio="$("$PAGODA" checkpoint diff "$SCRATCH/$model-cpu/cuts/step-000000200" \
    "$SCRATCH/$model-gpu/cuts/step-000000200" | tail -n 1 | grep -oE '[0-9.e+-]+$')"
  f32="$(loss_of "$model-cpu")"
  bf16="$(loss_of "$model-bf16")"
  change="$(awk -v a="$bf16" -v b="$f32" 'BEGIN {d = (a - b) / b; print d < 0 ? -d : d}')"
  echo "$model: $ratio of the largest value; loss in f32 $f32, in bf16 $bf16"
  awk -v r="$ratio" 'BEGIN {exit !(r <= 1e-4)}' || not_met "$model: the devices differ by $ratio"
  awk -v c="$change" 'BEGIN {exit !(c <= 0.01)}' || not_met "$model: bf16 changes the loss by $change"
  worst="$(larger "$worst" "$ratio")"
  worst_loss="$(larger "$worst_loss" "$change")"
done
echo "200 steps of 4 models: $gpu and CPU differ by at most $worst of the largest value, bf16 changes the loss by at most $worst_loss"

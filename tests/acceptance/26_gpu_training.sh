#!/usr/bin/env bash
# Whole models on the emulated GPU: 200 steps of DeepFM, DCNv2, DLRM and the two-tower end
# with the CPU's tables and dense parameters, with streams that do nothing until they are
# waited for and threads in random order.
. "$(dirname "$0")/lib.sh"
build="${BUILD:-build/emulated}"
gpu="${DEVICE:-emulated}"
[[ -n "${BUILD:-}" ]] || { cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPAGODA_CUDA=EMULATED \
    -DPAGODA_GRPC=ON && ninja -C "$build" pagoda; } > "$SCRATCH/build.log" 2>&1 \
  || { tail -n 30 "$SCRATCH/build.log"; exit 1; }
PAGODA="$ROOT/$build/deploy/pagoda"
# Adagrad's first update is +-learning_rate however small the gradient, and a unit is on or
# off at ReLU's kink: a last bit would decide. See 05_same_numbers.sh.
options=(--set train.mode=sync --set train.steps_max=200 --set train.epochs=100
         --set evaluation.every_steps=1000000 --set train.batch_size=128
         --set sparse.optimizer=adagrad --set sparse.initial_accumulator=0.1
         --set dense.optimizer=adagrad --set dense.learning_rate=0.01 --set dense.epsilon=0.001
         --set model.activation=tanh)
worst=0
for model in deepfm dcnv2 dlrm two_tower; do
  for device in cpu "$gpu"; do
    PAGODA_GPU_EMULATION="random:$RANDOM,lazy" "$PAGODA" train "algorithms/$model/job.toml" \
      "${options[@]}" --set train.device=$device --set job.output="$SCRATCH/$model-$device" \
      > "$SCRATCH/$model-$device.log" 2>&1 \
      || { tail -n 20 "$SCRATCH/$model-$device.log"; not_met "$model on $device"; }
  done
  ratio="$("$PAGODA" checkpoint diff "$SCRATCH/$model-cpu/cuts/step-000000200" \
    "$SCRATCH/$model-$gpu/cuts/step-000000200" | tail -n 1 | grep -oE '[0-9.e+-]+$')"
  echo "$model: $ratio"
  awk -v r="$ratio" 'BEGIN {exit !(r <= 1e-4)}' || not_met "$model: the devices differ by $ratio"
  worst="$(awk -v a="$worst" -v b="$ratio" 'BEGIN {print (b > a) ? b : a}')"
done
echo "200 steps of 4 models: $gpu and CPU differ by at most $worst of the largest value"

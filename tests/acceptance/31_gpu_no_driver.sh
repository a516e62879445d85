#!/usr/bin/env bash
# A binary built with CUDA starts on a machine without a driver and trains on the CPU; a
# build without the toolkit compiles the same tests.
. "$(dirname "$0")/lib.sh"
[ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ] || command -v nvcc > /dev/null \
  || cannot_run "nvcc 12.8 or later (CUDA_HOME)"
[ ! -e /dev/nvidiactl ] || cannot_run "a machine without an NVIDIA driver"
tests=(sparse_kernels_test dense_kernels_test retrieval_kernels_test)
for cuda in ON OFF; do
  { cmake -S . -B "build/cuda-$cuda" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPAGODA_CUDA=$cuda \
      -DPAGODA_GRPC=ON && ninja -C "build/cuda-$cuda" pagoda "${tests[@]}"; } \
    > "$SCRATCH/build.log" 2>&1 || { tail -n 30 "$SCRATCH/build.log"; not_met "PAGODA_CUDA=$cuda"; }
done
pagoda="build/cuda-ON/deploy/pagoda"
"$pagoda" doctor | tee "$SCRATCH/doctor"
grep -q 'CUDA' "$SCRATCH/doctor" || not_met "doctor does not name the toolkit"
grep -q 'no NVIDIA driver' "$SCRATCH/doctor" || not_met "doctor does not say what is missing"
"$pagoda" train algorithms/dcnv2/job.toml --set train.device=auto --set train.steps_max=50 \
  --set job.output="$SCRATCH/job" > "$SCRATCH/train" 2>&1 \
  || { tail -n 20 "$SCRATCH/train"; not_met "training with device auto"; }
if "$pagoda" train algorithms/dcnv2/job.toml --set train.device=cuda:0 --set train.steps_max=1 \
  --set job.output="$SCRATCH/refused" > "$SCRATCH/refused.log" 2>&1; then
  not_met "cuda:0 was accepted without a device"
fi
grep -q 'no CUDA device' "$SCRATCH/refused.log" || { cat "$SCRATCH/refused.log"; not_met "cuda:0: no words"; }
echo "built with CUDA: trains on the CPU without a driver, refuses cuda:0 in words; without: the same tests compile"

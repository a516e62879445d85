#!/usr/bin/env bash
# Each synchronisation of the GPU kernels removed and each bound loosened in turn: at least
# 95 % of the mutants are caught by the operators' tests, and every survivor has its reason.
#   DRAW (default: all)  only so many, drawn by the commit's hash
. "$(dirname "$0")/lib.sh"
tests=(sparse_kernels_test dense_kernels_test retrieval_kernels_test)
builds=()
for sanitizer in "" address thread; do
  build="build/emulated${sanitizer:+-$sanitizer}"
  { cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPAGODA_CUDA=EMULATED \
      -DPAGODA_GRPC=OFF -DPAGODA_SANITIZE="$sanitizer" && ninja -C "$build" "${tests[@]}"; } \
    > "$SCRATCH/build.log" 2>&1 || { tail -n 30 "$SCRATCH/build.log"; exit 1; }
  builds+=("$build")
done
python3 tests/kernels/gpu_mutants.py --builds "${builds[@]}" --seed "$(git rev-parse HEAD)" \
  ${DRAW:+--draw "$DRAW"} | tee "$SCRATCH/mutants" || not_met "$(tail -n 1 "$SCRATCH/mutants")"
tail -n 1 "$SCRATCH/mutants"

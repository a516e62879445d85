#!/usr/bin/env bash
# The tests under emulation reach at least 98 % of the lines of the GPU kernels, and at most
# 1 % of the .cu lines are hidden from the emulation.
. "$(dirname "$0")/lib.sh"
tests=(sparse_kernels_test dense_kernels_test retrieval_kernels_test)
build="build/emulated-coverage"
{ cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS="--coverage -O1" \
    -DPAGODA_CUDA=EMULATED -DPAGODA_GRPC=OFF && ninja -C "$build" "${tests[@]}"; } \
  > "$SCRATCH/build.log" 2>&1 || { tail -n 30 "$SCRATCH/build.log"; exit 1; }
find "$build" -name '*.gcda' -delete
for test in "${tests[@]}"; do
  PAGODA_TEST_DEVICE=emulated "$build/tests/kernels/$test" > "$SCRATCH/log" 2>&1 \
    || { tail -n 40 "$SCRATCH/log"; not_met "$test"; }
done
python3 tests/kernels/gpu_coverage.py "$build" --least 98 | tee "$SCRATCH/coverage" \
  || not_met "$(tail -n 1 "$SCRATCH/coverage")"
# What a preprocessor condition takes away from one of the two builds.
lines="$(cat kernels/*.cu | wc -l)"
hidden="$(awk '/^#if.*(CUDACC|PAGODA_GPU_EMULATED)/ {on = 1} on {n++} /^#endif/ {on = 0}
               END {print n + 0}' kernels/*.cu)"
[ $((hidden * 100)) -le "$lines" ] || not_met "$hidden of $lines .cu lines are hidden"
echo "$(tail -n 1 "$SCRATCH/coverage"); $hidden of $lines .cu lines hidden from the emulation"

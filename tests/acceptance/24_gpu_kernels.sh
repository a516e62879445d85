#!/usr/bin/env bash
# Every operator's GPU kernel, run on the CPU (kernels/gpu_emulation/), against the operators'
# double-precision oracles: forward, reverse and two random schedules, which must give the
# same bits; again under AddressSanitizer + UBSan; again under ThreadSanitizer, which sees
# the data races of a kernel.
. "$(dirname "$0")/lib.sh"
tests=(gpu_emulation_test sparse_kernels_test dense_kernels_test retrieval_kernels_test)
export PAGODA_TEST_DEVICE=emulated PAGODA_GPU_SCHEDULES=all
export TSAN_OPTIONS="ignore_noninstrumented_modules=1:halt_on_error=1"
export ASAN_OPTIONS="detect_leaks=0" UBSAN_OPTIONS="print_stacktrace=1"
cases=0
for sanitizer in "" address thread; do
  build="build/emulated${sanitizer:+-$sanitizer}"
  { cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPAGODA_CUDA=EMULATED \
      -DPAGODA_GRPC=OFF -DPAGODA_SANITIZE="$sanitizer" && ninja -C "$build" "${tests[@]}"; } \
    > "$SCRATCH/build.log" 2>&1 || { tail -n 30 "$SCRATCH/build.log"; exit 1; }
  for test in "${tests[@]}"; do
    "$build/tests/kernels/$test" > "$SCRATCH/log" 2>&1 \
      || { tail -n 60 "$SCRATCH/log"; not_met "${sanitizer:-plain}: $test"; }
    cases=$((cases + $(grep -oE 'in [0-9]+ test case' "$SCRATCH/log" | grep -oE '[0-9]+')))
  done
done
echo "$cases test cases passed: plain, ASan + UBSan, TSan; forward, reverse and two random schedules each"

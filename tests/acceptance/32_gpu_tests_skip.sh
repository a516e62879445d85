#!/usr/bin/env bash
# The tests labelled gpu are compiled, and skip (77) with the words "no CUDA device" where
# there is none; where there is one, they run.
. "$(dirname "$0")/lib.sh"
build gpu_present sparse_kernels_test dense_kernels_test retrieval_kernels_test
ctest --test-dir build/release -L gpu -V > "$SCRATCH/log" 2>&1 || { cat "$SCRATCH/log"; not_met "gpu tests"; }
listed="$(grep -cE '^ *[0-9]+/[0-9]+ Test +#' "$SCRATCH/log")"
[ "$listed" -ge 3 ] || not_met "$listed tests are labelled gpu"
if [ -e /dev/nvidiactl ]; then
  echo "$listed tests labelled gpu ran"
else
  skipped="$(grep -c 'no CUDA device' "$SCRATCH/log")"
  [ "$skipped" -eq "$listed" ] || not_met "$skipped of $listed said 'no CUDA device'"
  grep -q '\*\*\*Skipped' "$SCRATCH/log" || not_met "none was skipped"
  echo "$listed tests labelled gpu compiled and skipped: no CUDA device"
fi
for step in doctor 'ctest .*-L gpu' compute-sanitizer ncu samples; do
  grep -qE "$step" docs/gpu_checklist.md || not_met "docs/gpu_checklist.md lacks $step"
done

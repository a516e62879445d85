#!/usr/bin/env bash
# The deterministic invariants of the published systems, and finite differences of every new
# operator and model: the unit tests of models, layers and operators, on the CPU and on the
# emulated GPU.
. "$(dirname "$0")/lib.sh"
build="build/emulated"
targets=(sparse_kernels_test models_test sequence_models_test nn_layers_test nn_ops_test nn_test worlds_test)
{ cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPAGODA_CUDA=EMULATED \
    -DPAGODA_GRPC=OFF && ninja -C "$build" "${targets[@]}"; } > "$SCRATCH/build.log" 2>&1 \
  || { tail -n 30 "$SCRATCH/build.log"; not_met "the tests do not build"; }

binary() { find "$build/tests" -type f -name "$1" -perm -u+x; }
# Each of these is an invariant that a specification names; a renamed test must not drop out.
named() {  # named TARGET PATTERN
  "$(binary "$1")" --list-test-names-only > "$SCRATCH/names" || true  # The number of tests.
  grep -qE "$2" "$SCRATCH/names" || not_met "$1 has no test '$2'"
}
while IFS='|' read -r target pattern; do
  named "$target" "$pattern"
done <<'LIST'
sparse_kernels_test|^The bases of 2 and 4 fields are orthogonal
models_test|^usd's weights carry no gradient into the heads
models_test|^usd without sampling and debiasing is the plain tower
models_test|^usm of five fields has 95 channels, and constant bases
models_test|^a frozen USM table gets no gradient
models_test|^msnet's meta networks begin as the identity
models_test|^The absorbed path gives the training path's attention
models_test|^LREA's loss on negative weights
sequence_models_test|^gpsd's logit does not depend on .* padding
sequence_models_test|^gpsd's states of a history are the same before any candidate
sequence_models_test|^gpsd leaves a drawn item out
nn_layers_test|^target attention follows its formula; without history it is exactly zero
nn_test|^a query that sees no key gets exactly zero, and passes no gradient
LIST

cases=0
for target in "${targets[@]}"; do
  for device in cpu emulated; do
    # Trainings of a thousand steps tell nothing more of kernels, and take very long emulated.
    tests="*"
    [ "$device" = emulated ] && tests="~[learning]"
    PAGODA_TEST_DEVICE="$device" "$(binary "$target")" "$tests" > "$SCRATCH/$target.log" 2>&1 \
      || { tail -n 30 "$SCRATCH/$target.log"; not_met "$target on $device"; }
    here="$(grep -oE '[0-9]+ test case' "$SCRATCH/$target.log" | tail -n 1 | cut -d' ' -f1)"
    cases=$((cases + ${here:-0}))
  done
done
echo "$cases test cases passed, on the CPU and on the emulated GPU: ${targets[*]}"

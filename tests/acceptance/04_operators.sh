#!/usr/bin/env bash
# Every operator against a double-precision oracle at sizes 0, 1 and odd; every
# operator and every model by finite differences.
. "$(dirname "$0")/lib.sh"
build unit_tests
ctest --test-dir build/release -L unit --output-on-failure \
  -R '^((dense|sparse|retrieval)_kernels|nn|nn_ops|models)_test' \
  --no-tests=error -j 2 | tee "$SCRATCH/log" | tail -n 20
for header in kernels/*.h; do
  name="$(basename "$header" .h)"
  [ -f "kernels/${name}_cpu.cc" ] || continue
  [ -f "tests/kernels/${name}_test.cc" ] || not_met "no test of operator $name"
done
count="$(grep -cE '^ *[0-9]+/[0-9]+ Test .* Passed' "$SCRATCH/log" || true)"
[ "$count" -gt 150 ] || not_met "only $count tests ran"
echo "$(grep -E 'tests passed' "$SCRATCH/log")"

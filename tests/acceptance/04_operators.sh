#!/usr/bin/env bash
# Every operator against a double-precision oracle at sizes 0, 1 and odd; every
# operator and every model by finite differences.
. "$(dirname "$0")/lib.sh"
build unit_tests
ctest --test-dir build/release -L unit -R '^(kernels|algorithms)' --output-on-failure \
  --no-tests=error -j 2 | tee "$SCRATCH/log" | tail -n 20
for header in kernels/*.h; do
  name="$(basename "$header" .h)"
  [ -f "kernels/${name}_cpu.cc" ] || continue
  [ -f "tests/kernels/${name}_test.cc" ] || not_met "no test of operator $name"
done
echo "$(grep -E 'tests passed' "$SCRATCH/log")"

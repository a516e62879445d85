#!/usr/bin/env bash
# The store under ThreadSanitizer: eight threads that pull, push, flush, cut, evict and
# scan, and every other test of the store, with one suppression, RocksDB's; and 1e7
# random operations against std::unordered_map.
. "$(dirname "$0")/lib.sh"
suppressions="$(grep -vE '^(#|$)' tests/tsan_suppressions.txt)"
[ "$suppressions" = "race:rocksdb" ] || not_met "suppressions beside RocksDB's: $suppressions"
{ cmake --preset tsan && ninja -C build/tsan embedding_store_test; } > "$SCRATCH/build.log" 2>&1 \
  || { tail -n 30 "$SCRATCH/build.log"; exit 1; }
export TSAN_OPTIONS="ignore_noninstrumented_modules=1:halt_on_error=1:second_deadlock_stack=1:suppressions=$ROOT/tests/tsan_suppressions.txt"
./build/tsan/tests/embedding_store/embedding_store_test \
  "eight threads that pull, push, cut, evict and scan leave what they pushed" \
  > "$SCRATCH/threads.log" 2>&1 || { tail -n 40 "$SCRATCH/threads.log"; not_met "eight threads"; }
ctest --test-dir build/tsan -R '^embedding_store_test' -j "$(nproc)" --no-tests=error \
  > "$SCRATCH/tsan.log" 2>&1 || { tail -n 40 "$SCRATCH/tsan.log"; not_met "ThreadSanitizer"; }
build store_differential_test
./build/release/tests/embedding_store/store_differential_test > "$SCRATCH/differential.log" 2>&1 \
  || { tail -n 30 "$SCRATCH/differential.log"; not_met "differs from std::unordered_map"; }
echo "ThreadSanitizer: $(grep -oE '[0-9]+ tests failed out of [0-9]+' "$SCRATCH/tsan.log"); 1e7 operations agree with std::unordered_map"

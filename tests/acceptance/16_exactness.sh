#!/usr/bin/env bash
# Exact tables against dense optimizers in double and in f32, 10,000 steps of every
# optimizer; pulls of rows that missed 1,000 steps against pulls of rows just touched.
. "$(dirname "$0")/lib.sh"
build exactness_test
if ! build/release/tests/embedding_store/exactness_test > "$SCRATCH/log" 2>&1; then
  cat "$SCRATCH/log"
  not_met "$(grep -c 'FAILED:' "$SCRATCH/log" || true) checks failed"
fi
cat "$SCRATCH/log"
worst="$(awk '/e-[0-9]+ +[0-9.]+e-[0-9]+$/ {if ($(NF-1) > w + 0) w = $(NF-1)} END {print w}' "$SCRATCH/log")"
slowest="$(grep -oE '[0-9]+ %$' "$SCRATCH/log" | sort -n | head -n 1)"
echo "largest error $worst of the largest weight; pulls after 1,000 steps at $slowest of the hot speed or more"

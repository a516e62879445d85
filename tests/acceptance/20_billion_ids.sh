#!/usr/bin/env bash
# Very many ids (tests/benchmarks/billion_ids.cc): created and trained under a 12 GiB memory
# budget; at most 50 bytes a row on disk, and fast enough for 1e9 in 2.5 hours.
#   IDS (1000000000; the largest power of ten that the disk has room for is taken),
#   MEMORY_MB (12288), SCRATCH_DIR (where the store goes; default: a temporary folder).
. "$(dirname "$0")/lib.sh"
build billion_ids
path="${SCRATCH_DIR:-$SCRATCH}/billion_ids"
./build/release/tests/benchmarks/billion_ids --ids "${IDS:-1000000000}" --memory-mb "${MEMORY_MB:-12288}" \
  --path "$path" > "$SCRATCH/table" 2> "$SCRATCH/err" \
  || { cat "$SCRATCH/table"; tail -n 5 "$SCRATCH/err"; not_met "$(grep -hE 'creation \||on disk \|' "$SCRATCH/table" | tr '\n' ' ')"; }
cat "$SCRATCH/table"
echo "$(head -n 1 "$SCRATCH/table"); $(grep '^| creation' "$SCRATCH/table" | tr -d '|'); $(grep -oE 'bytes a row on disk \| [0-9.]+' "$SCRATCH/table" | tr -d '|')"

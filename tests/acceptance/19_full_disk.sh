#!/usr/bin/env bash
# A full disk loses nothing that was acknowledged (tests/faults/full_disk.cc): on a small
# tmpfs pushes are refused with RESOURCE_EXHAUSTED, the store goes on by itself when there is
# room, and a kill -9 while the disk is full leaves every acknowledged push.
#   ROUNDS (20); BIN: where full_disk is, if it is built already.
. "$(dirname "$0")/lib.sh"
if [ -z "${BIN:-}" ]; then
  build full_disk
  BIN="$ROOT/build/release/tests/faults"
fi
mkdir "$SCRATCH/disk"
mount -t tmpfs -o size=24m tmpfs "$SCRATCH/disk" 2> /dev/null || cannot_run "mounting a tmpfs needs root"
trap 'umount -l "$SCRATCH/disk"; cleanup' EXIT
"$BIN/full_disk" "$SCRATCH/disk" "$SCRATCH" --rounds "${ROUNDS:-20}" > "$SCRATCH/log" 2> "$SCRATCH/err" \
  || { tail -n 5 "$SCRATCH/err"; cat "$SCRATCH/log"; not_met "$(tail -n 1 "$SCRATCH/log")"; }
tail -n 1 "$SCRATCH/log"

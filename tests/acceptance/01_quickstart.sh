#!/usr/bin/env bash
# deploy/quickstart.sh on a fresh clone: builds, trains, prints the test AUC and the
# next three things to try; TensorBoard files lie on disk. Under 15 minutes on 2
# cores from nothing, under 2 once built.
. "$(dirname "$0")/lib.sh"

git clone -q "$ROOT" "$SCRATCH/pagoda"
cd "$SCRATCH/pagoda"
begin=$SECONDS
CCACHE_DISABLE=1 bash deploy/quickstart.sh < /dev/null | tee "$SCRATCH/first.log"
first=$((SECONDS - begin))
begin=$SECONDS
bash deploy/quickstart.sh < /dev/null > "$SCRATCH/second.log"
second=$((SECONDS - begin))

grep -qE 'AUC [0-9]\.[0-9]+' "$SCRATCH/first.log" || not_met "no test AUC on the screen"
find runs -name 'events.out.tfevents.*' -size +0 | grep -q . || not_met "no TensorBoard file"
[ "$first" -lt 900 ] || not_met "$first s from a fresh clone"
[ "$second" -lt 120 ] || not_met "$second s once built"
echo "fresh clone $first s, once built $second s, $(grep -oE 'test AUC [0-9.]+|AUC [0-9.]+' "$SCRATCH/first.log" | tail -n 1)"

#!/usr/bin/env bash
# Speed of the embedding store, every figure beside its limit in the same run
# (tests/benchmarks/store_bench.cc): hot pull and push of ten million rows with 1 and 2
# threads, with the log in a burst and for minutes, exact rows after a gap, cold pulls, Zipf
# pulls, bulk load, cuts and restoring them; and FBGEMM's table where it is installed.
#   ROWS (default 10000000), SUSTAINED (seconds, default 600), SECONDS_EACH (default 2).
# A busy machine disturbs it: run it alone.
. "$(dirname "$0")/lib.sh"
build store_bench
BENCH="$ROOT/build/release/tests/benchmarks/store_bench"
rows="${ROWS:-10000000}"
free_kb="$(df -k --output=avail "${TMPDIR:-/tmp}" | tail -n 1)"
need_kb=$((rows / 1000 * 1200))
[ "$free_kb" -gt "$need_kb" ] || cannot_run "$((need_kb >> 20)) GiB free in ${TMPDIR:-/tmp}"
memory_kb="$(awk '/MemAvailable/ {print $2}' /proc/meminfo)"
[ "$memory_kb" -gt $((rows / 1000 * 700)) ] || cannot_run "$((rows * 700 / 1000 >> 20)) GiB of memory"

echo "load average $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) processors"
bench() { "$BENCH" --rows "$rows" --seconds "${SECONDS_EACH:-2}" --path "$SCRATCH/bench" "$@"; }
for threads in 1 2; do
  bench --threads $threads --only hot,burst,exact,cold,mixed | tee -a "$SCRATCH/table"
  echo
done
bench --threads 2 --only load,cut | tee -a "$SCRATCH/table"
if [ "${SUSTAINED:-600}" -gt 0 ]; then
  echo
  bench --threads 1 --only burst --sustained-seconds "${SUSTAINED:-600}" | tee -a "$SCRATCH/table"
fi
for threads in 1 2; do
  echo
  "${PAGODA_PYTHON:-python3}" tests/benchmarks/peers/fbgemm_table.py --rows "$rows" \
    --threads $threads 2> /dev/null || echo "FBGEMM: not installed here (PAGODA_PYTHON)"
done
echo
goals="$(grep -cE '(met|MISSED) \|$' "$SCRATCH/table")"
missed="$(grep -E 'MISSED \|$' "$SCRATCH/table" | cut -d'|' -f2 | sed 's/^ *//; s/ *$//' | paste -sd';' || true)"
[ -z "$missed" ] || not_met "$(tr ';' '\n' <<< "$missed" | wc -l) of $goals speed goals missed: $missed"
echo "$goals of $goals speed goals met"

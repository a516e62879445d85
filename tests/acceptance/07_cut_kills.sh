#!/usr/bin/env bash
# Kills at random moments of a 2+2 async job that does little else than cut: every
# listed cut is complete, its checksums right, and it equals the drained state bit for
# bit: every row of every cut is recomputed from what the servers acknowledged up to
# it (tests/faults/cut_oracle.cc). The job then resumes from the newest.
#   KILLS (default 100) sets the number, SEED the moments.
. "$(dirname "$0")/lib.sh"
build pagoda recording_server cut_oracle
kills="${KILLS:-100}"
seed="${SEED:-$RANDOM}"
RANDOM=$seed
echo "seed $seed"
FAULTS="$ROOT/build/release/tests/faults"
job=algorithms/deepfm/job.toml
out="$SCRATCH/run"

start_job() {  # start_job OPTIONS...: two recording servers, two workers; sets pids
  local i servers=""
  pids=()
  for i in 0 1; do
    rm -f "$SCRATCH/address-$i"
    "$FAULTS/recording_server" "$SCRATCH/data-$i" "$SCRATCH/journal-$i" "$SCRATCH/address-$i" \
      > "$SCRATCH/server-$i.log" 2>&1 &
    pids+=($!)
  done
  for i in 0 1; do
    while [ ! -s "$SCRATCH/address-$i" ]; do
      kill -0 "${pids[$i]}" 2> /dev/null || { cat "$SCRATCH/server-$i.log"; return 1; }
      sleep 0.02
    done
    servers="$servers${servers:+,}$(cat "$SCRATCH/address-$i")"
  done
  for i in 0 1; do
    "$PAGODA" worker "$job" --servers "$servers" --rank $i --workers 2 "$@" \
      --set job.output="$out" --set train.mode=async --set train.epochs=100000 \
      --set train.checkpoint_every_steps=5 --set train.checkpoints_kept=3 \
      --set evaluation.every_steps=1000000 > "$SCRATCH/worker-$i.log" 2>&1 &
    pids+=($!)
  done
}

has_cut() { "$PAGODA" checkpoint list "$out" 2> /dev/null | grep -q step-; }

compared=0
resumed=0
for ((i = 1; i <= kills; ++i)); do
  resume=()
  # The oracle replays a job from its beginning: a fresh one now and then.
  if has_cut && [ $((i % 20)) -ne 0 ]; then
    resume=(--resume)
    resumed=$((resumed + 1))
  else
    rm -rf "$out" "$SCRATCH"/data-* "$SCRATCH"/journal-*
  fi
  start_job "${resume[@]}" || not_met "kill $i: a server does not start"
  sleep "$(awk -v r=$RANDOM 'BEGIN {printf "%.3f", 1.0 + 3.0 * r / 32768}')"
  for pid in "${pids[@]}"; do
    kill -0 "$pid" 2> /dev/null || { tail -n 5 "$SCRATCH"/*.log; not_met "kill $i: the job had ended"; }
  done
  kill -9 "${pids[@]}"
  wait "${pids[@]}" 2> /dev/null || true
  has_cut || continue
  for cut in $("$PAGODA" checkpoint list "$out" | grep -oE '^[^ ]*step-[^ ]+' | sort -u); do
    "$PAGODA" checkpoint verify "$cut" > "$SCRATCH/verify" 2>&1 \
      || { cat "$SCRATCH/verify"; not_met "kill $i: $cut is listed and not complete"; }
  done
  "$FAULTS/cut_oracle" "$out" 2 "$SCRATCH/journal-0" "$SCRATCH/journal-1" > "$SCRATCH/oracle" 2>&1 \
    || { cat "$SCRATCH/oracle"; not_met "kill $i: a cut is not the drained state"; }
  compared=$((compared + $(cut -d' ' -f1 "$SCRATCH/oracle")))
done

# The oracle sees one changed gradient: the last of the first push in a journal.
python3 - "$SCRATCH/journal-0" << 'PYTHON'
import struct, sys
with open(sys.argv[1], "r+b") as journal:
    kind, size = struct.unpack("<BQ", journal.read(9))
    assert kind == 1, "the journal does not begin with a push"
    journal.seek(9 + size - 4)
    value = struct.unpack("<f", journal.read(4))[0]
    journal.seek(9 + size - 4)
    journal.write(struct.pack("<f", value + 1.0))
PYTHON
if "$FAULTS/cut_oracle" "$out" 2 "$SCRATCH/journal-0" "$SCRATCH/journal-1" > "$SCRATCH/oracle" 2>&1; then
  not_met "the oracle does not see a changed gradient"
fi
grep -q 'weights or slots differ' "$SCRATCH/oracle" || { cat "$SCRATCH/oracle"; not_met "the oracle failed for another reason"; }
[ "$compared" -gt "$kills" ] || not_met "only $compared cuts were there to compare"
echo "$kills kills, $resumed resumes, $compared listed cuts complete and equal to the drained state (seed $seed)"

#!/usr/bin/env bash
# A killed worker or server ends the launched job within 10 s with a message that names
# it; nothing hangs and nothing is left running.
. "$(dirname "$0")/lib.sh"
build
job=algorithms/deepfm/job.toml
longest=0
for mode in sync async; do
  for victim in worker-0 worker-1 server-0 server-1; do
    out="$SCRATCH/$mode-$victim"
    "$PAGODA" launch "$job" --servers 2 --workers 2 --set job.output="$out" \
      --set train.mode=$mode --set train.epochs=100000 --set train.log_every_steps=5 \
      --set evaluation.every_steps=1000000 > "$out.log" 2>&1 &
    pid=$!
    for _ in $(seq 400); do
      grep -rqE 'step (5|10)\b' "$out.log" "$out/logs" 2> /dev/null && break
      sleep 0.05
    done
    child="$(grep -oE "$victim .*pid [0-9]+" "$out.log" | grep -oE '[0-9]+$' | tail -n 1)"
    [ -n "$child" ] || { cat "$out.log"; not_met "the launcher does not show the pid of $victim"; }
    begin=$(date +%s%N)
    kill -9 "$child"
    if wait $pid; then not_met "$mode: exit code 0 after $victim was killed"; fi
    millis=$((($(date +%s%N) - begin) / 1000000))
    [ $millis -lt 10000 ] || not_met "$mode $victim: $millis ms until the end"
    [ $millis -le $longest ] || longest=$millis
    grep -q "$victim" <(tail -n 15 "$out.log") || { tail "$out.log"; not_met "$victim is not named"; }
    ! pgrep -f "$out" > /dev/null || not_met "$mode $victim: processes are left"
  done
done
echo "8 deaths (4 processes x sync, async), each named; the longest took $longest ms"

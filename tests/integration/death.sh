#!/usr/bin/env bash
# A process of a launched job dies by kill -9: the job ends within 10 s, names it,
# fails, and leaves nothing running. The launcher's own death leaves nothing either.
. "$(dirname "$0")/lib.sh"

endless=(--set train.steps_max=0 --set train.epochs=1000000 --set train.log_every_steps=5)
launch() {  # launch OUTPUT: in the background, until it trains
  "$PAGODA" launch "$JOB" --servers 2 --workers 2 --set job.output="$SCRATCH/$1" "${endless[@]}" \
    > "$SCRATCH/$1.log" 2>&1 &
  leader=$!
  await 30 grep -qE '^step ' "$SCRATCH/$1.log" || { cat "$SCRATCH/$1.log"; fail "$1 does not train"; }
}
none_left() {  # none_left OUTPUT
  ! pgrep -f "job.output=[\"]?$SCRATCH/$1" > /dev/null
}

for victim in worker-1 server-0; do
  launch $victim
  begin=$(millis)
  kill -9 "$(pid_of $victim "$SCRATCH/$victim.log")"
  code=0
  wait $leader || code=$?
  took=$(($(millis) - begin))
  [ $code -eq 1 ] || fail "$victim killed: exit code $code"
  [ $took -lt 10000 ] || fail "$victim killed: $took ms until the end"
  says $victim "^pagoda: error: $victim \(pid [0-9]+\) was killed by signal 9"
  none_left $victim || fail "$victim killed: processes are left"
  echo "$victim killed: named, over after $took ms"
done

launch launcher
kill -9 $leader
wait $leader 2> /dev/null || true
await 10 none_left launcher || fail "the launcher killed: processes are left"
echo "the launcher killed: nothing is left"

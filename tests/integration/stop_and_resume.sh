#!/usr/bin/env bash
# Ctrl-C makes a cut and prints a command that resumes, embedded and launched; a
# second Ctrl-C quits at once. Resumed training gives the bits of uninterrupted
# training (sync, one worker).
. "$(dirname "$0")/lib.sh"
endless=(--set train.steps_max=0 --set train.epochs=1000000)

stop() {  # stop NAME COMMAND...: starts it, sends Ctrl-C while it trains, wants code 130
  local name="$1" code=0
  shift
  "$@" > "$SCRATCH/$name.log" 2>&1 &
  local pid=$!
  await 30 grep -qE '^step ' "$SCRATCH/$name.log" || { cat "$SCRATCH/$name.log"; fail "$name does not train"; }
  kill -INT $pid
  wait $pid || code=$?
  [ $code -eq 130 ] || { tail "$SCRATCH/$name.log"; fail "$name: exit code $code after Ctrl-C"; }
}

for command in train launch; do
  out="$SCRATCH/$command"
  stop $command "$PAGODA" $command "$JOB" --set job.output="$out" "${endless[@]}"
  says $command "^cut: "
  resume="$(sed -n 's/^resume with: //p' "$SCRATCH/$command.log")"
  [ -n "$resume" ] || fail "$command prints no resume command"
  step="$(sed -nE 's/^stopped at step ([0-9]+):.*/\1/p' "$SCRATCH/$command.log")"
  run resumed-$command 0 bash -c "$resume --set train.steps_max=$((step + 20))"
  says resumed-$command "^finished at step $((step + 20)):"
  says resumed-$command "^resuming from "
done

# 20 + 20 steps = 40 steps.
run whole 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/whole"
run half 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/half" --set train.steps_max=20
run rest 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/half" --resume
for name in whole half; do
  cut="$("$PAGODA" checkpoint list "$SCRATCH/$name" | grep 'step 40 ' | cut -d' ' -f1)"
  run hash-$name 0 "$PAGODA" checkpoint verify "$cut" --hash
done
cmp "$SCRATCH/hash-whole.log" "$SCRATCH/hash-half.log" || fail "resumed training differs"

# An earlier run is neither continued nor lost by mistake.
run again 1 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/whole"
says again "earlier run .*--resume.*--overwrite"
run overwrite 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/whole" --overwrite
run empty 1 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/empty" --resume
says empty "no complete cut"

# A second Ctrl-C does not wait.
"$PAGODA" launch "$JOB" --workers 2 --set job.output="$SCRATCH/twice" "${endless[@]}" > "$SCRATCH/twice.log" 2>&1 &
pid=$!
await 30 grep -qE '^step ' "$SCRATCH/twice.log" || fail "twice does not train"
worker="$(pid_of worker-1 "$SCRATCH/twice.log")"
kill -STOP "$worker"  # So that the job cannot stop in good order.
kill -INT $pid
sleep 0.5
kill -INT $pid
begin=$(millis)
code=0
wait $pid || code=$?
[ $code -eq 1 ] && [ $(($(millis) - begin)) -lt 3000 ] || fail "a second Ctrl-C: code $code, $(($(millis) - begin)) ms"
! kill -0 "$worker" 2> /dev/null || fail "a second Ctrl-C left worker-1"
echo "stopping and resuming work"

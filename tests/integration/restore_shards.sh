#!/usr/bin/env bash
# A job that goes on with another number of servers has the bits of one that never
# moved, embedded and launched; and what a server cannot read is named.
. "$(dirname "$0")/lib.sh"

hash_of() {  # hash_of NAME STEP: of the cut at that step, into hash-NAME.log.
  local cut
  cut="$("$PAGODA" checkpoint list "$SCRATCH/$1" | grep "step $2 " | tail -n 1 | cut -d' ' -f1)"
  run "hash-$1" 0 "$PAGODA" checkpoint verify "$cut" --hash
  grep -E '^(dense|rows) ' "$SCRATCH/hash-$1.log" > "$SCRATCH/hash-$1"
}
same() {  # same NAME STEP
  hash_of "$1" "$2"
  cmp "$SCRATCH/hash-whole" "$SCRATCH/hash-$1" || fail "$1 differs from the run that stayed"
}
train() {  # train LOG OUTPUT STEPS OPTIONS...
  local log="$1" out="$2" steps="$3"
  shift 3
  run "$log" 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/$out" --set train.steps_max="$steps" "$@"
}

train whole whole 40
hash_of whole 40

train m1 moved 20
train m3 moved 40 --resume --servers 3
says m3 "^finished at step 40:"
same moved 40

train f4 fewer 10 --servers 4
train f1 fewer 20 --resume
train f2 fewer 30 --resume --servers 2
train f4again fewer 40 --resume --servers 4
same fewer 40

run l1 0 "$PAGODA" launch "$JOB" --set job.output="$SCRATCH/launched" --set train.steps_max=20
run l3 0 "$PAGODA" launch "$JOB" --set job.output="$SCRATCH/launched" --resume --servers 3
same launched 40

# Back to the cut of 1 server after 3 servers took it and were killed before a cut.
train b1 back 20
"$PAGODA" train "$JOB" --set job.output="$SCRATCH/back" --resume --servers 3 \
  --set train.steps_max=0 --set train.epochs=1000000 > "$SCRATCH/b3.log" 2>&1 &
pid=$!
await 30 grep -qE '^step ' "$SCRATCH/b3.log" || { cat "$SCRATCH/b3.log"; fail "b3 does not train"; }
kill -9 $pid
wait $pid 2> /dev/null || true
train b1again back 40 --resume
same back 40

# Rows that are somewhere else.
train g1 gone 20
mv "$SCRATCH/gone/server-0/cuts/step-000000020" "$SCRATCH/elsewhere"
run g3 1 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/gone" --resume --servers 3
says g3 "cannot read the directory $SCRATCH/gone/server-0/cuts/step-000000020"
echo "moving a job between numbers of servers keeps its bits"

#!/usr/bin/env bash
# A job of two stages: handing over, freezing, one stage at a time, refusals, Ctrl-C, and
# kill -9 in the middle of a hand-over, embedded and launched.
. "$(dirname "$0")/lib.sh"
STAGED="$HERE/staged.toml"

first_cut() { ls -d "$1"/cuts/step-000000000* | head -n 1; }
last_cut() { echo "$1/cuts/$(sed 's/^cut //' "$1/finished")"; }
# Ids and weights of a table, sorted: what a row holds without slots, step and count.
weights() { "$PAGODA" table scan "$1" --table "$2" --csv | cut -d, -f2- | sort; }
hash_of() { "$PAGODA" checkpoint verify "$1" --hash | tail -n 2; }  # Of any number of servers.

run whole 0 "$PAGODA" train "$STAGED" --set job.output="$SCRATCH/whole" --trace "$SCRATCH/whole.trace"
says whole "^stage pretrain, 1 of 2"
says whole "^stage finetune, 2 of 2"
says whole "^stage finetune: weights of stage pretrain at step 40"
says whole "loaded: table occupation \([0-9]+ rows\), table education -> relationship \([0-9]+ rows\), deep\.1\.weight, deep\.1\.bias"
says whole "fresh, .*table education"
says whole "of the cut, not loaded: .*deep\.0\.weight"
says whole "^frozen: table occupation, deep\.1\.weight, deep\.1\.bias"
says whole "^row gradients pushed: occupation 0 \(frozen\), relationship [1-9]"
[ -s "$SCRATCH/whole.trace.finetune" ] || fail "no trace of a stage"

# Frozen rows and parameters are the same bytes before, at the hand-over, and after.
pre="$(last_cut "$SCRATCH/whole/pretrain")"
begun="$(first_cut "$SCRATCH/whole/finetune")"
ended="$(last_cut "$SCRATCH/whole/finetune")"
"$PAGODA" table scan "$begun" --table occupation --csv > "$SCRATCH/begun.csv"
"$PAGODA" table scan "$ended" --table occupation --csv > "$SCRATCH/ended.csv"
[ "$(wc -l < "$SCRATCH/begun.csv")" -gt 10 ] || fail "no rows were handed over"
cmp "$SCRATCH/begun.csv" "$SCRATCH/ended.csv" || fail "rows of a frozen table changed"

# One at a time gives the same bits as both in a row.
run apart1 0 "$PAGODA" train "$STAGED" --set job.output="$SCRATCH/apart" --stage pretrain
run early 1 "$PAGODA" train "$STAGED" --set job.output="$SCRATCH/early" --stage finetune
says early "starts from stage 'pretrain', which has not finished"
run apart2 0 "$PAGODA" train "$STAGED" --set job.output="$SCRATCH/apart" --from-stage finetune
[ "$(hash_of "$ended")" = "$(hash_of "$(last_cut "$SCRATCH/apart/finetune")")" ] \
  || fail "stages one at a time differ"

# The cut of a stage stands alone; what ran is neither run again nor lost by mistake.
run evaluate 0 "$PAGODA" evaluate --cut "$ended" --input valid
run again 1 "$PAGODA" train "$STAGED" --set job.output="$SCRATCH/whole"
says again "earlier run of stage 'pretrain'.*--resume.*--overwrite"
run nothing 0 "$PAGODA" train "$STAGED" --set job.output="$SCRATCH/whole" --resume
says nothing "finetune, 2 of 2: finished before"
run unstaged 1 "$PAGODA" worker "$STAGED" --servers 127.0.0.1:1 --rank 0 --workers 1
says unstaged "has stages: choose one with --stage: pretrain, finetune"

# Refusals leave nothing.
refuse() {  # refuse NAME WORDS OPTIONS...
  local name="$1" words="$2"
  shift 2
  run "$name" 1 "$PAGODA" train "$STAGED" --set job.output="$SCRATCH/apart" --stage finetune --overwrite "$@"
  says "$name" "$words"
  [ ! -e "$SCRATCH/apart/finetune/cuts" ] || fail "$name left a cut"
}
refuse nomatch "\"ocupation\" names no table.*did you mean 'occupation'" --set 'stage.finetune.load=["ocupation"]'
refuse shape "'occupation' of the cut has the shape \[4\], 'occupation' here \[6\]" --set stage.finetune.model.embedding_dim=6
refuse ftrl "'relationship' is trained by ftrl" --set stage.finetune.sparse.optimizer=ftrl --set stage.finetune.sparse.weight_decay=0

# 20 + 20 steps of a stage = 40.
half=(--set job.output="$SCRATCH/half")
run half 0 "$PAGODA" train "$STAGED" "${half[@]}" --set stage.finetune.train.steps_max=20
run rest 0 "$PAGODA" train "$STAGED" "${half[@]}" --stage finetune --resume
[ "$(hash_of "$ended")" = "$(hash_of "$(last_cut "$SCRATCH/half/finetune")")" ] || fail "a resumed stage differs"

# Ctrl-C in the second stage, then on.
"$PAGODA" train "$STAGED" --set job.output="$SCRATCH/stopped" --set stage.finetune.train.steps_max=0 \
  --set stage.finetune.evaluation.patience=0 > "$SCRATCH/stopped.log" 2>&1 &
pid=$!
await 60 grep -qE '^frozen: ' "$SCRATCH/stopped.log" || { cat "$SCRATCH/stopped.log"; fail "no second stage"; }
kill -INT $pid
code=0
wait $pid || code=$?
[ $code -eq 130 ] || fail "exit code $code after Ctrl-C"
[ ! -e "$SCRATCH/stopped/finetune/finished" ] || fail "a stopped stage has finished"
step="$(sed -nE 's/^stopped at step ([0-9]+):.*/\1/p' "$SCRATCH/stopped.log")"
resume="$(sed -n 's/^resume with: //p' "$SCRATCH/stopped.log")"
run onward 0 bash -c "$resume --set stage.finetune.train.steps_max=$((step + 20))"
says onward "pretrain, 1 of 2: finished before"
says onward "^resuming from "
says onward "^finished at step $((step + 20)):"

# kill -9 while one table is in and the other is not: nothing of it stays.
kill_in_hand_over() {  # kill_in_hand_over NAME COMMAND OPTIONS...: its output is $SCRATCH/NAME
  local name="$1" command="$2" pid
  shift 2
  run "$name-pre" 0 "$PAGODA" "$command" "$STAGED" --set job.output="$SCRATCH/$name" --stage pretrain "$@"
  setsid "$PAGODA" "$command" "$STAGED" --set job.output="$SCRATCH/$name" --stage finetune \
    --pause-in-hand-over 30 "$@" > "$SCRATCH/$name-killed.log" 2>&1 &
  pid=$!
  await 60 grep -rqE "took [1-9][0-9]* rows of table 'occupation'" "$SCRATCH/$name-killed.log" "$SCRATCH/$name/finetune/logs" \
    || { cat "$SCRATCH/$name-killed.log"; fail "$name: no hand-over"; }
  kill -9 -- -"$pid"
  wait "$pid" 2> /dev/null || true
  local child
  for child in server-0 server-1 worker-0 worker-1; do  # Launched ones die with it.
    child="$(pid_of $child "$SCRATCH/$name-killed.log")"
    [ -z "$child" ] || await 10 bash -c "! kill -0 $child" || fail "$name: process $child lives on"
  done
  [ -d "$SCRATCH/$name/finetune/server-0/store" ] || fail "$name: no rows to be half-loaded"
  ! ls -d "$SCRATCH/$name"/finetune/cuts/*/manifest > /dev/null 2>&1 || fail "$name: a cut of half a hand-over"
  run "$name-resumed" 0 "$PAGODA" "$command" "$STAGED" --set job.output="$SCRATCH/$name" --resume "$@"
  says "$name-resumed" "pretrain, 1 of 2: finished before"
  says "$name-resumed" "loaded: table occupation"
}
kill_in_hand_over killed train --servers 2
[ "$(hash_of "$ended")" = "$(hash_of "$(last_cut "$SCRATCH/killed/finetune")")" ] \
  || fail "a hand-over after kill -9 differs"
kill_in_hand_over killed2 launch --servers 2 --workers 2

# Two servers and two workers: the frozen table is the same, the rest up to summation order.
two="$SCRATCH/killed2/finetune"
cmp <(weights "$(first_cut "$two")" occupation) <(weights "$(last_cut "$two")" occupation) \
  || fail "rows of a frozen table changed with two workers"
echo "stages work"

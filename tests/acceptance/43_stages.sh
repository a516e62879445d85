#!/usr/bin/env bash
# Pretraining, then finetuning with a loaded and frozen table and frozen dense parameters,
# on bundled data: the frozen part is identical to the byte under AdamW with decay 0.1 and
# takes no push; 2 servers and 2 workers give the same frozen bytes and, per tensor and
# table, max|a-b| <= 1e-4 max|b|; kill -9 at any moment of the hand-over is made good by
# --resume to the last bit.
. "$(dirname "$0")/lib.sh"
build
job=tests/acceptance/43_stages.toml

run() {  # run NAME COMMAND OPTIONS...: output in $SCRATCH/NAME
  local name="$1" command="$2"
  shift 2
  "$PAGODA" "$command" "$job" --set job.output="$SCRATCH/$name" "$@" > "$SCRATCH/$name.log" 2>&1 \
    || { tail -n 20 "$SCRATCH/$name.log"; not_met "$name did not run"; }
}
first_cut() { ls -d "$SCRATCH/$1"/finetune/cuts/step-000000000* | head -n 1; }
last_cut() { echo "$SCRATCH/$1/$2/cuts/$(sed 's/^cut //' "$SCRATCH/$1/$2/finished")"; }
hash_of() { "$PAGODA" checkpoint verify "$1" --hash | tail -n 2; }
rows() { "$PAGODA" table scan "$1" --table movieId --csv; }
id_and_weights() { rows "$1" | cut -d, -f2,4 | sort; }

run one train
begun="$(first_cut one)" ended="$(last_cut one finetune)" source="$(last_cut one pretrain)"
frozen="$(rows "$begun" | wc -l)"
[ "$frozen" -gt 1000 ] || not_met "only $frozen rows were handed over"
cmp <(rows "$begun") <(rows "$ended") || not_met "frozen rows changed: weights, slots or steps"
cmp <(id_and_weights "$source") <(id_and_weights "$ended") || not_met "frozen rows are not the source's"
slots="$(rows "$ended" | tail -n +2 | cut -d, -f5 | tr -d '\n')"
[ -z "$slots" ] || not_met "frozen rows have slots: ${slots:0:80}"
grep -qE '^row gradients pushed: .*movieId 0 \(frozen\)' "$SCRATCH/one.log" || not_met "a frozen table was pushed to"
pushed="$(grep -oE 'userId [0-9]+' "$SCRATCH/one.log" | tail -n 1 | cut -d' ' -f2)"
[ "$pushed" -gt 1000 ] || not_met "no row gradients were counted at all"
grep -qE '^frozen: table movieId, deep\.0\.weight, deep\.0\.bias' "$SCRATCH/one.log" || not_met "no dense parameter is frozen"
"$PAGODA" checkpoint diff "$begun" "$ended" > "$SCRATCH/diff.log"
for name in "table movieId" "dense deep.0.weight" "dense deep.0.bias"; do
  grep -qE "^$name: [1-9][0-9]* values, max\|a-b\| 0, " "$SCRATCH/diff.log" || { cat "$SCRATCH/diff.log"; not_met "$name moved"; }
done
for name in "table genres" "dense deep.1.weight"; do
  grep -qE "^$name: [1-9][0-9]* values, max\|a-b\| [0-9.e-]*[1-9]" "$SCRATCH/diff.log" || { cat "$SCRATCH/diff.log"; not_met "$name did not train"; }
done

# Two servers and two workers, kept away from what magnifies a last bit (script 05).
steady=(--set sparse.optimizer=adagrad --set sparse.weight_decay=0 --set sparse.initial_accumulator=0.1
        --set dense.optimizer=adagrad --set dense.weight_decay=0 --set dense.epsilon=0.001)
run alone train "${steady[@]}"
run two launch --servers 2 --workers 2 "${steady[@]}"
cmp <(rows "$(first_cut two)" | sort) <(rows "$(last_cut two finetune)" | sort) || not_met "two workers moved frozen rows"
ratio="$("$PAGODA" checkpoint diff "$(last_cut two finetune)" "$(last_cut alone finetune)" | tail -n 1 | grep -oE '[0-9.e+-]+$')"
awk -v r="$ratio" 'BEGIN {exit !(r <= 1e-4)}' || not_met "two workers differ by $ratio"
run four train --servers 4
[ "$(hash_of "$(last_cut four finetune)")" = "$(hash_of "$ended")" ] || not_met "four servers differ from one"

# kill -9: after some time, or once the log says that a table's rows are in; each table's
# rows are followed by a pause.
killed=0 half=0
for moment in 0.05 0.3 0.8 1.5 "took [0-9]+ rows of table 'movieId'" "took [0-9]+ rows of table 'genres'" "weights of stage"; do
  log="$SCRATCH/killed.log"
  "$PAGODA" train "$job" --set job.output="$SCRATCH/one" --stage finetune --overwrite --servers 2 \
    --pause-in-hand-over 0.5 > "$log" 2>&1 &
  pid=$!
  case "$moment" in
    [0-9]*) sleep "$moment" ;;
    *) for _ in $(seq 1200); do grep -qE "$moment" "$log" && break; sleep 0.05; done ;;
  esac
  kill -9 $pid 2> /dev/null || true
  wait $pid 2> /dev/null || true
  if ! ls "$SCRATCH"/one/finetune/cuts/*/manifest > /dev/null 2>&1; then
    killed=$((killed + 1))
    if grep -q "rows of table" "$log"; then half=$((half + 1)); fi
  fi
  run one train --resume --servers 2
  [ "$(hash_of "$(last_cut one finetune)")" = "$(hash_of "$(last_cut four finetune)")" ] \
    || not_met "killed at '$moment', the resumed hand-over differs"
done
[ "$half" -ge 1 ] || not_met "no kill fell into the middle of a hand-over"
echo "$((frozen - 1)) frozen rows and dense parameters identical, 0 pushes; two workers differ by at most $ratio; $killed kills before the first cut ($half with half the rows) made good"

#!/usr/bin/env bash
# Admission and eviction from the job file to the rows: what is refused is counted; a
# resumed job, also on two servers, has the bits of the uninterrupted one; `table evict`.
. "$(dirname "$0")/lib.sh"
admission=(--set sparse.admission='"frequency"' --set sparse.admission_count=3
  --set sparse.admission_window_steps=15 --set sparse.admission_sketch_mib=1
  --set server.memory_mb=64)

hash_of() {  # hash_of OUT STEP: of all rows in the cut of a step.
  local cut
  cut="$("$PAGODA" checkpoint list "$1" | grep "step $2 " | cut -d' ' -f1)"
  "$PAGODA" table stat "$cut" --hash | grep -E '^rows |gradients refused'
}

run plain 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/plain"
run whole 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/whole" "${admission[@]}"
run half 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/half" "${admission[@]}" --set train.steps_max=20
run rest 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/half" "${admission[@]}" --resume
hash_of "$SCRATCH/whole" 40 > "$SCRATCH/whole.hash"
hash_of "$SCRATCH/half" 40 > "$SCRATCH/half.hash"
grep -qE ' [1-9][0-9]* gradients refused, 0 rows evicted; admission: frequency, 3 steps' "$SCRATCH/whole.hash" ||
  fail "nothing was refused: $(cat "$SCRATCH/whole.hash")"
cmp "$SCRATCH/whole.hash" "$SCRATCH/half.hash" || fail "resumed training differs"
[ "$(hash_of "$SCRATCH/plain" 40)" != "$(grep '^rows' "$SCRATCH/whole.hash")" ] || fail "admission changes nothing"

# 20 steps on one server, 10 on two, 10 on three: the same.
run move1 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/move" "${admission[@]}" --set train.steps_max=20
run move2 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/move" "${admission[@]}" --set train.steps_max=30 --resume --servers 2
run move3 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/move" "${admission[@]}" --resume --servers 3
hash_of "$SCRATCH/move" 40 > "$SCRATCH/move.hash"
cmp "$SCRATCH/whole.hash" "$SCRATCH/move.hash" || fail "moving between servers differs"

# Servers and worker as processes.
run launched 0 "$PAGODA" launch "$JOB" --set job.output="$SCRATCH/launched" "${admission[@]}" --servers 2
hash_of "$SCRATCH/launched" 40 > "$SCRATCH/launched.hash"
cmp "$SCRATCH/whole.hash" "$SCRATCH/launched.hash" || fail "launched training differs"

run changed 1 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/whole" --resume --set train.steps_max=50 --set server.memory_mb=64
says changed 'admission'
run exact 1 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/exact" "${admission[@]}" --set sparse.exact=true
says exact 'admission.*exact'

# Eviction by itself, of values so rare that few steps touch them; the start says that it
# happens.
run evicting 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/evicting" --set sparse.evict_unused_steps=3 \
  --set sparse.evict_every_steps=10 --set train.steps_max=12000
says evicting 'evicts rows in the background'
run evicted 0 "$PAGODA" table stat "$SCRATCH/evicting/server-0"
says evicted ' [1-9][0-9]* rows evicted; evicts by itself, every 10 steps'

# By command: criteria given, and those of the table.
store="$SCRATCH/plain/server-0"
before="$("$PAGODA" table stat "$store" | sed -nE 's/^occupation  .* rows ([0-9]+) .*/\1/p')"
run none 1 "$PAGODA" table evict "$store" occupation
says none 'no eviction criteria'
run nobody 1 "$PAGODA" table evict "$store" nobody --rows-max 3
says nobody "no table 'nobody'; tables: .*occupation"
run by-command 0 "$PAGODA" table evict "$store" occupation --rows-max 3 --order least_frequent
says by-command "^occupation: evicted [0-9]+ of $before rows"
left="$("$PAGODA" table stat "$store" | sed -nE 's/^occupation  .* rows ([0-9]+) .*/\1/p')"
[ "$left" -le 3 ] || fail "$left rows are left"
[ "$("$PAGODA" table scan "$store" --table occupation | tail -n +2 | wc -l)" -eq "$left" ] || fail "scan and stat differ"
run own-rule 0 "$PAGODA" table evict "$SCRATCH/evicting/server-0" education
run cut 1 "$PAGODA" table evict "$("$PAGODA" checkpoint list "$SCRATCH/plain" | tail -n 1 | cut -d' ' -f1)" occupation --rows-max 1
says cut 'a cut keeps the rows'
run help 0 "$PAGODA" table evict --help
says help 'least_frequent'
echo "rows are admitted and evicted as asked"

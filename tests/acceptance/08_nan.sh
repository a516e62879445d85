#!/usr/bin/env bash
# A NaN planted in the data: nothing of that step is applied, and the error names file
# and line.
. "$(dirname "$0")/lib.sh"
build
zcat tests/data/adult/adult.data.gz | awk 'NF && ++n <= 4000' > "$SCRATCH/clean.csv"
awk 'NR == 3001 {sub(/^[^,]*/, "nan")} {print}' "$SCRATCH/clean.csv" > "$SCRATCH/planted.csv"
run() {  # run FILE OUTPUT STEPS
  "$PAGODA" train algorithms/dnn/job.toml --set data.files="$1" --set data.shuffle_rows=0 \
    --set 'data.split=[0.0, 1.0]' --set data.valid.files="$SCRATCH/clean.csv" \
    --set train.epochs=1 --set train.batch_size=250 --set job.output="$2" \
    --set train.steps_max="$3" --set train.checkpoint_every_steps=12 \
    --set evaluation.every_steps=1000000 > "$2.log" 2>&1
}
run "$SCRATCH/clean.csv" "$SCRATCH/clean" 12 || { tail "$SCRATCH/clean.log"; exit 1; }
if run "$SCRATCH/planted.csv" "$SCRATCH/planted" 0; then not_met "the job did not stop"; fi
grep -qE 'planted\.csv:3001' "$SCRATCH/planted.log" \
  || { tail -n 3 "$SCRATCH/planted.log"; not_met "the error does not name planted.csv:3001"; }
# Batches 1 to 12 hold rows 1 to 3000: the store must equal the clean run's after 12.
a="$("$PAGODA" table stat "$SCRATCH/clean/server-0" --hash | tail -n 1)"
b="$("$PAGODA" table stat "$SCRATCH/planted/server-0" --hash | tail -n 1)"
[ "$a" = "$b" ] || not_met "rows differ from a run without the NaN: $a, $b"
echo "refused: $(grep -oE '[^ ]*planted\.csv:3001.*' "$SCRATCH/planted.log" | tail -n 1 | sed "s#$SCRATCH/##"); store equal to the clean run's"

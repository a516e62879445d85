#!/usr/bin/env bash
# `pagoda predict`: one row per input row, in order; unknown ids are fine, labels are
# not needed; equal to evaluation; nothing of the cut changes.
. "$(dirname "$0")/lib.sh"

run train 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/out" --servers 2
cut="$(sed -n 's/^best cut: //p' "$SCRATCH/train.log")"
sums() { find "$SCRATCH/out" -type f -not -name LOCK -print0 | sort -z | xargs -0 sha256sum; }
sums > "$SCRATCH/before"

rows="$(zcat "$ROOT/tests/data/adult/adult.test.gz" | grep -c .)"
run predict 0 "$PAGODA" predict --cut "$cut" --input test --labels --output "$SCRATCH/scores.csv"
says predict "^wrote $rows scores to "
[ "$(head -n 1 "$SCRATCH/scores.csv")" = score,label,group ] || fail "header: $(head -n 1 "$SCRATCH/scores.csv")"
[ "$(wc -l < "$SCRATCH/scores.csv")" -eq $((rows + 1)) ] || fail "$(wc -l < "$SCRATCH/scores.csv") lines for $rows rows"
# The labels stand in the order of the file.
zcat "$ROOT/tests/data/adult/adult.test.gz" | grep . | awk '{print ($NF == ">50K.") ? 1 : 0}' > "$SCRATCH/labels"
tail -n +2 "$SCRATCH/scores.csv" | cut -d, -f2 | cmp - "$SCRATCH/labels" || fail "labels out of order"

# The score of a row depends on the row alone, not on the others or on the label.
zcat "$ROOT/tests/data/adult/adult.test.gz" | grep . | tac | sed 's/, [^,]*$/, unknown/' > "$SCRATCH/reversed.csv"
run reversed 0 "$PAGODA" predict --cut "$cut" --input "$SCRATCH/reversed.csv" --output "$SCRATCH/r.csv"
awk -F, 'NR == FNR {if (NR > 1) a[NR - 1] = $1; n = NR - 1; next}
         FNR > 1 {d = $1 - a[n + 2 - FNR]; if (d < 0) d = -d; if (d > worst) worst = d}
         END {exit !(worst < 1e-5)}' "$SCRATCH/scores.csv" "$SCRATCH/r.csv" \
  || fail "a row's score depends on its place"

# Texts that training never saw, and a file without the label's column.
zcat "$ROOT/tests/data/adult/adult.test.gz" | awk "NR <= 3" | sed 's/, [^,]*$//; s/Never-married/Novel/; s/ \(Adm\|Machine\|Farming\)[^,]*/ Wizard/' > "$SCRATCH/novel.csv"
columns='data.test.columns=["age","workclass","fnlwgt","education","education_num","marital_status","occupation","relationship","race","sex","capital_gain","capital_loss","hours_per_week","native_country"]'
run novel 0 "$PAGODA" predict --cut "$cut" --input "$SCRATCH/novel.csv" --output "$SCRATCH/n.csv" --set "$columns"
[ "$(wc -l < "$SCRATCH/n.csv")" -eq 4 ] || fail "3 rows in, $(($(wc -l < "$SCRATCH/n.csv") - 1)) out"

# What goes wrong leaves no file behind.
printf '39, Private\n' > "$SCRATCH/short.csv"
run short 1 "$PAGODA" predict --cut "$cut" --input "$SCRATCH/short.csv" --output "$SCRATCH/none.csv"
says short 'short.csv:1'
run missing 1 "$PAGODA" predict --cut "$cut" --input "$SCRATCH/nothing.csv" --output "$SCRATCH/none.csv"
says missing 'no file .*nothing.csv'
run nowhere 1 "$PAGODA" predict --cut "$cut" --input test --output "$SCRATCH/no/such/folder.csv"
says nowhere 'cannot write .*folder.csv'
run nocut 1 "$PAGODA" predict --cut "$SCRATCH" --input test --output "$SCRATCH/none.csv"
[ -z "$(find "$SCRATCH" -name 'none.csv*')" ] || fail "a failed prediction left a file"

# Evaluation says the same for the same data, twice.
run first 0 "$PAGODA" evaluate --cut "$cut" --input test
run second 0 "$PAGODA" evaluate --cut "$cut" --input test
cmp "$SCRATCH/first.log" "$SCRATCH/second.log" || fail "two evaluations differ"
run table 0 "$PAGODA" table get "$cut" relationship --text Husband
says table '^weights( [-0-9.e]+){4}$'
run unknown 1 "$PAGODA" table get "$cut" relationship --text Nobody
sums > "$SCRATCH/after"
cmp "$SCRATCH/before" "$SCRATCH/after" || { diff "$SCRATCH/before" "$SCRATCH/after"; fail "reading changed files"; }

# With --labels a model's further outputs may look at the targets, here the weight of a logged
# sample's loss: 0 outside of the portal, more than 1 for some within; the score is the same.
usd="$ROOT/algorithms/usd/job.toml"
log="$ROOT/tests/data/attention_habit/train.csv.gz"
run usd 0 "$PAGODA" train "$usd" --set job.output="$SCRATCH/usd" --set train.steps_max=30
cut="$(sed -n 's/^best cut: //p' "$SCRATCH/usd.log")"
run weighed 0 "$PAGODA" predict --cut "$cut" --input "$log" --labels --output "$SCRATCH/w.csv"
run scored 0 "$PAGODA" predict --cut "$cut" --input "$log" --output "$SCRATCH/s.csv"
cmp <(cut -d, -f1 "$SCRATCH/w.csv") <(cut -d, -f1 "$SCRATCH/s.csv") || fail "a score looks at targets"
column() { head -n 1 "$1" | tr , '\n' | grep -nx "$2" | cut -d: -f1; }
weight="$(column "$SCRATCH/w.csv" ctr_weight)" portal="$(column <(zcat "$log" || true) portal)"
paste -d ' ' <(cut -d, -f"$weight" "$SCRATCH/w.csv") <(zcat "$log" | cut -d, -f"$portal") | tail -n +2 \
  | awk '$2 == 0 && $1 != 0 {wrong++} $2 == 1 && $1 < 1 {wrong++} $1 > 1.01 {heavy++}
         END {exit !(NR > 100 && wrong == 0 && heavy > 10)}' || fail "weights of logged samples"
echo "predictions: one per row, in order, and nothing changed"

#!/usr/bin/env bash
# Gowalla, all 40,981 places ranked for every user, training ones left out: Recall@20 >= 0.165
# and NDCG@20 >= 0.135 on the test file (published: YoutubeDNN .1754/.1473, MF-BPR .1627/.1378).
# Settings and the number of epochs were chosen by the validation file; the run here trains on
# train and validation together, as the published ones do, and reads the test file once.
. "$(dirname "$0")/lib.sh"
source_dir="$PAGODA_DATA_DIR/gowalla"
[ -f "$source_dir/train.txt.gz" ] || cannot_run "$source_dir/train.txt.gz is not there"
build
data="$SCRATCH/gowalla"
python3 deploy/prepare_interactions.py gowalla "$source_dir" "$data" > "$SCRATCH/prepare.log" 2>&1 \
  || { cat "$SCRATCH/prepare.log"; not_met "the data was not prepared"; }
cat "$SCRATCH/prepare.log"

# One evaluation, at the end, so that the last cut is the trained model. The schedule ends with the
# last of 60 passes over the rows of both files.
steps=$((60 * (($(cat "$data/train.csv" "$data/valid.csv" | wc -l) - 2 + 2047) / 2048)))
"$PAGODA" train algorithms/two_tower/gowalla.toml --set job.output="$SCRATCH/run" \
  --set "data.files=[\"$data/train.csv\", \"$data/valid.csv\"]" \
  --set data.valid.files="$data/valid.csv" --set data.test.files="$data/test.csv" \
  --set data.items.files="$data/items.csv" --set evaluation.every_steps=1000000000 \
  --set schedule.total_steps="$steps" \
  > "$SCRATCH/train.log" 2>&1 || { tail -n 20 "$SCRATCH/train.log"; not_met "the training failed"; }
grep '^finished' "$SCRATCH/train.log"
cut="$(sed -n 's/^best cut: //p' "$SCRATCH/train.log" | tail -n 1)"
"$PAGODA" evaluate --cut "$cut" --input test > "$SCRATCH/test.log" 2>&1 \
  || { tail -n 20 "$SCRATCH/test.log"; not_met "the evaluation failed"; }
cat "$SCRATCH/test.log"
recall="$(grep -oE '\brecall [0-9.]+' "$SCRATCH/test.log" | tail -n 1 | cut -d' ' -f2)"
ndcg="$(grep -oE '\bNDCG [0-9.]+' "$SCRATCH/test.log" | tail -n 1 | cut -d' ' -f2)"
[ -n "$recall" ] && [ -n "$ndcg" ] || not_met "no figures"
echo "Recall@20 $recall (needs 0.165), NDCG@20 $ndcg (needs 0.135)"
awk -v r="$recall" -v n="$ndcg" 'BEGIN {exit !(r >= 0.165 && n >= 0.135)}' \
  || not_met "Recall@20 $recall, NDCG@20 $ndcg"

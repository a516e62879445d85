#!/usr/bin/env bash
# A job with a side file, targets, negatives and [metrics]: one process and 2 + 2 agree,
# evaluation measures what was asked for, prediction needs no targets, mistakes are named.
. "$(dirname "$0")/lib.sh"

awk 'BEGIN {
  srand(3); print "user,past" > "'"$SCRATCH"'/users.csv"; print "item" > "'"$SCRATCH"'/items.csv"
  print "user,item,click,paid,segment" > "'"$SCRATCH"'/train.csv"
  for (i = 1; i <= 40; ++i) print i > "'"$SCRATCH"'/items.csv"
  for (u = 0; u < 60; ++u) print "u" u "," 1 + u % 40 " " 1 + (3 * u) % 40 > "'"$SCRATCH"'/users.csv"
  for (r = 0; r < 3000; ++r) {
    u = int(rand() * 60); i = 1 + (u + int(rand() * 10)) % 40
    print "u" u "," i "," (rand() < 0.7) "," int(rand() * 3) "," (u % 2 ? "new" : "old") > "'"$SCRATCH"'/train.csv"
  }
}'
cat > "$SCRATCH/job.toml" <<JOB
[job]
name = "joins"
[data]
files = ["train.csv"]
shuffle_rows = 1000
split = [0.0, 0.8]
[data.valid]
split = [0.8, 1.0]
[data.test]
split = [0.8, 1.0]
[data.items]
files = ["items.csv"]
[schema]
label = "click"
targets = ["paid"]
[join.user]
files = ["users.csv"]
[features]
user = "categorical"
item = "id"
past = { kind = "id", table = "item", separator = " ", last = 5, join = "user", pooling = "mean" }
[model]
name = "dnn"
hidden = [16]
embedding_dim = 8
[train]
batch_size = 128
epochs = 2
[metrics]
pairs = ["score:paid"]
slices = ["segment"]
JOB

run one 0 "$PAGODA" train "$SCRATCH/job.toml" --set job.output="$SCRATCH/one"
run two 0 "$PAGODA" launch "$SCRATCH/job.toml" --servers 2 --workers 2 --set job.output="$SCRATCH/two"
for run in one two; do
  cut="$(sed -n 's/^best cut: //p' "$SCRATCH/$run.log" | tail -n 1)"
  run "$run-test" 0 "$PAGODA" evaluate --cut "$cut" --input test
  says "$run-test" '^test: AUC 0\.[0-9]+ .* auc\(score:paid\) 0\.[0-9]+ .* auc\[segment=(new|old)\] 0\.[0-9]+'
done
figures() { grep -oE '[0-9]+\.[0-9]+' "$SCRATCH/$1-test.log"; }
paste <(figures one) <(figures two) \
  | awk '{d = $1 - $2; if (d < 0) d = -d; if (d > 1e-3) exit 1} END {exit !(NR > 5)}' \
  || { cat "$SCRATCH/one-test.log" "$SCRATCH/two-test.log"; fail "2 + 2 processes differ from one"; }

# A file without label, target and slice columns; the key is needed.
cut -d, -f1,2 "$SCRATCH/train.csv" > "$SCRATCH/plain.csv"
run predict 0 "$PAGODA" predict --cut "$cut" --input "$SCRATCH/plain.csv" --output "$SCRATCH/scores.csv"
[ "$(wc -l < "$SCRATCH/scores.csv")" -eq 3001 ] || fail "$(wc -l < "$SCRATCH/scores.csv") lines of scores"
printf 'user,item\nstranger,3\n' > "$SCRATCH/stranger.csv"
run stranger 1 "$PAGODA" predict --cut "$cut" --input "$SCRATCH/stranger.csv" --output "$SCRATCH/none.csv"
says stranger "stranger.csv:2:1: join 'user' has no row with the key 'stranger'"

# Negatives of a retrieval model, one process against 2 + 2.
retrieval=(--set model.name=two_tower --set 'model.hidden=[]' --set 'model.user_features=["user","past"]'
  --set 'model.item_features=["item"]' --set model.in_batch=false --set model.negatives=20
  --set 'metrics.pairs=[]' --set 'metrics.slices=[]' --set 'metrics.top_ks=[5]' --set schema.group=user
  --set evaluation.metric=recall)
run drawn-one 0 "$PAGODA" train "$SCRATCH/job.toml" "${retrieval[@]}" --set job.output="$SCRATCH/d1"
run drawn-two 0 "$PAGODA" launch "$SCRATCH/job.toml" --servers 2 --workers 2 "${retrieval[@]}" --set job.output="$SCRATCH/d2"
for run in one two; do
  says "drawn-$run" 'recall 0\.[0-9]+  NDCG 0\.[0-9]+  hit rate 0\.[0-9]+ .* recall@5 0\.[0-9]+'
  grep -oE 'recall@5 [0-9.]+' "$SCRATCH/drawn-$run.log" | tail -n 1 | cut -d' ' -f2 > "$SCRATCH/r-$run"
done
paste "$SCRATCH/r-one" "$SCRATCH/r-two" | awk '{d = $1 - $2; if (d < 0) d = -d; exit !(d < 0.02)}' \
  || fail "recall@5 $(cat "$SCRATCH/r-one") in one process, $(cat "$SCRATCH/r-two") in 2 + 2"

printf 'u0,1\n' >> "$SCRATCH/users.csv"
run twice 1 "$PAGODA" train "$SCRATCH/job.toml" --set job.output="$SCRATCH/twice"
says twice "join 'user': .*users.csv:62: an earlier row has the same key"
echo "joins, targets, negatives and metrics: one process and 2 + 2 agree"

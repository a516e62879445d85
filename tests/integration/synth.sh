#!/usr/bin/env bash
# `pagoda synth`: the same bytes from the same seed; help that lists worlds and knobs; mistakes
# are named and leave nothing; a full disk, too; a job trains on what was written.
. "$(dirname "$0")/lib.sh"

run help 0 "$PAGODA" synth --help
for world in attention_habit stock_sale multi_hot cooccurrence long_history; do
  says help "^ +$world: "
done
says help 'variant=planted \| null \| violation'
says help 'users=20000 +users'

small() {
  case "$1" in
    attention_habit) echo "--rows 400 --set test_users=20" ;;
    stock_sale) echo "--rows 400" ;;
    multi_hot) echo "--rows 400 --set valid_rows=50 --set test_rows=50" ;;
    cooccurrence) echo "--rows 80 --set items=500 --set candidates=20" ;;
    long_history) echo "--rows 400 --set length=100" ;;
  esac
}
for world in attention_habit stock_sale multi_hot cooccurrence long_history; do
  # shellcheck disable=SC2046
  run "$world" 0 "$PAGODA" synth "$world" --seed 3 --output "$SCRATCH/$world" $(small "$world")
  run again 0 "$PAGODA" synth "$world" --seed 3 --output "$SCRATCH/again" $(small "$world")
  diff -r "$SCRATCH/$world" "$SCRATCH/again" || fail "$world: other bytes from the same seed"
  rm -r "$SCRATCH/again"
  run other 0 "$PAGODA" synth "$world" --seed 4 --output "$SCRATCH/again" $(small "$world")
  cmp -s "$SCRATCH/$world/train.csv" "$SCRATCH/again/train.csv" && fail "$world: the seed changes nothing"
  rm -r "$SCRATCH/again"
  says "$world" "/train.csv: [0-9]+ rows, [0-9]+ bytes"
  python3 -c "import json,sys; json.load(open(sys.argv[1]))" "$SCRATCH/$world/world.json" \
    || fail "$world: world.json is no JSON"
  # Truth only in the test: its columns are those of training, and more.
  train="$(head -n 1 "$SCRATCH/$world/train.csv")"
  case "$(head -n 1 "$SCRATCH/$world/test.csv")" in
    "$train",*oracle*) ;;
    *) fail "$world: columns of test.csv" ;;
  esac
done

run twice 1 "$PAGODA" synth multi_hot --output "$SCRATCH/multi_hot"
says twice 'multi_hot is not empty'
run world 1 "$PAGODA" synth multi_hit --output "$SCRATCH/none"
says world "unknown world 'multi_hit'; did you mean 'multi_hot'\?"
run knob 1 "$PAGODA" synth multi_hot --output "$SCRATCH/none" --set bais=1
says knob "unknown knob 'bais'; did you mean 'bias'\?"
run range 1 "$PAGODA" synth multi_hot --output "$SCRATCH/none" --set zipf=7
says range "knob 'zipf': 7 is not between 0 and 3"
run nowhere 1 "$PAGODA" synth multi_hot --output /proc/none
run output 2 "$PAGODA" synth multi_hot
run rows 2 "$PAGODA" synth multi_hot --output "$SCRATCH/none" --rows 0
(
  trap '' XFSZ
  ulimit -f 64 # KiB: as a full disk, a write fails.
  run full 1 "$PAGODA" synth multi_hot --output "$SCRATCH/none"
)
says full 'cannot write .*/none/train.csv'
[ ! -e "$SCRATCH/none" ] || fail "a failed command left $(ls -R "$SCRATCH/none")"

# A job trains on the columns that the page promises, and scores the test beside its truth.
cat > "$SCRATCH/job.toml" << TOML
[job]
name = "synth"
output = "$SCRATCH/out"
[data]
files = ["attention_habit/train.csv"]
[data.valid]
files = ["attention_habit/valid.csv"]
[data.test]
files = ["attention_habit/test.csv"]
[schema]
label = "click"
group = "user"
[features]
cluster = "id"
item = "id"
tokens = { kind = "id", separator = "|" }
clicked_clusters = { kind = "id", separator = "|" }
[model]
name = "lr"
[train]
batch_size = 64
epochs = 1
threads = 1
[server]
memory_mb = 16
threads = 1
TOML
run train 0 "$PAGODA" train "$SCRATCH/job.toml"
cut="$(sed -n 's/^best cut: //p' "$SCRATCH/train.log")"
run predict 0 "$PAGODA" predict --cut "$cut" --input test --output "$SCRATCH/scores.csv"
[ "$(wc -l < "$SCRATCH/scores.csv")" -eq "$(wc -l < "$SCRATCH/attention_habit/test.csv")" ] \
  || fail "scores do not stand row by row beside the truth"
echo "worlds: same bytes from the same seed, mistakes named, nothing left behind"

#!/usr/bin/env bash
# Every kind of bad input: a clear one-line error, and no partial effect.
. "$(dirname "$0")/lib.sh"
build
job=algorithms/dnn/job.toml
zcat tests/data/adult/adult.data.gz | awk 'NF && ++n <= 2000' > "$SCRATCH/good.csv"
checks=0

train() {  # train OUTPUT OPTIONS...
  local out="$1"
  shift
  "$PAGODA" train "${JOB:-$job}" --set job.output="$SCRATCH/$out" --set train.steps_max=5 \
    --set 'data.split=[0.0, 1.0]' --set data.valid.files="$SCRATCH/good.csv" \
    --set evaluation.every_steps=1000000 "$@"
}
refused() {  # refused NAME PATTERN COMMAND...: fails, says PATTERN in its error line
  local name="$1" pattern="$2"
  shift 2
  if "$@" > "$SCRATCH/out" 2>&1; then cat "$SCRATCH/out"; not_met "$name was accepted"; fi
  grep -iE "$pattern" "$SCRATCH/out" > "$SCRATCH/line" \
    || { tail -n 5 "$SCRATCH/out"; not_met "$name: no line says /$pattern/"; }
  ! grep -qE 'terminate called|Segmentation|core dumped|bug:' "$SCRATCH/out" \
    || { cat "$SCRATCH/out"; not_met "$name ended in a crash"; }
  printf '%-28s %s\n' "$name" "$(tail -n 1 "$SCRATCH/line" | sed "s#$SCRATCH/##g" | cut -c1-150)"
  checks=$((checks + 1))
}
planted() {  # planted NAME AWK-PROGRAM: good.csv with line 1001 changed
  awk -F', *' -v OFS=, "NR == 1001 {$2} {print}" "$SCRATCH/good.csv" > "$SCRATCH/$1.csv"
}

refused "missing file" "no_such_file" train a --set data.files="$SCRATCH/no_such_file.csv"
: > "$SCRATCH/empty.csv"
refused "empty file" "empty.csv.*empty" train a --set data.files="$SCRATCH/empty.csv"
gzip -c "$SCRATCH/good.csv" > "$SCRATCH/whole.gz"; head -c 20000 "$SCRATCH/whole.gz" > "$SCRATCH/truncated.csv.gz"
refused "truncated .gz" "truncated.csv.gz" \
  train a --set data.files="$SCRATCH/truncated.csv.gz" --set train.steps_max=0
planted short 'NF = 14; $0 = $0'
sed -i '1001s/,[^,]*$//' "$SCRATCH/short.csv"
planted text '$1 = "forty"'
planted nan '$1 = "nan"'
for name in short text nan; do
  refused "$name" "$name\.csv:1001" train a --set data.files="$SCRATCH/$name.csv" \
    --set train.steps_max=0 --set train.epochs=1
done
awk -F', *' -v OFS=, '{$15 = ($15 ~ />50K/) ? 1 : 0; if (NR == 1001) $15 = 2; print}' \
  "$SCRATCH/good.csv" > "$SCRATCH/label.csv"
sed -e '/^label_positive/d' -e "s#\"\.\./\.\./#\"$ROOT/#g" "$job" > "$SCRATCH/label.toml"
JOB="$SCRATCH/label.toml" refused "label outside {0,1}" "label\.csv:1001" \
  train a --set data.files="$SCRATCH/label.csv" --set data.valid.files="$SCRATCH/label.csv" \
  --set train.steps_max=0 --set train.epochs=1
sed -e 's/^batch_size/batchsize/' -e "s#\"\.\./\.\./#\"$ROOT/#g" "$job" > "$SCRATCH/unknown.toml"
JOB="$SCRATCH/unknown.toml" refused "unknown key" "unknown.toml:[0-9]+.*batchsize.*batch_size" train a

# A stored table of another dimension: refused, and the cut stays as it was.
fm() { "$PAGODA" train algorithms/fm/job.toml --set job.output="$SCRATCH/fm" --set train.steps_max="$@"; }
fm 5 --set evaluation.every_steps=1000000 > "$SCRATCH/out" 2>&1 || { cat "$SCRATCH/out"; exit 1; }
cut="$(ls -d "$SCRATCH"/fm/cuts/* | tail -n 1)"
before="$("$PAGODA" checkpoint verify "$cut" --hash)"
refused "wrong dimension" "dim" fm 10 --resume --set model.embedding_dim=5
[ "$before" = "$("$PAGODA" checkpoint verify "$cut" --hash)" ] || not_met "the cut changed"

# A port in use.
"$PAGODA" server --listen 127.0.0.1:17891 --data "$SCRATCH/server-a" > "$SCRATCH/server.log" 2>&1 &
server=$!
for _ in $(seq 100); do grep -qs 17891 "$SCRATCH/server.log" && break; sleep 0.05; done
refused "port in use" "17891.*in use" \
  timeout 20 "$PAGODA" server --listen 127.0.0.1:17891 --data "$SCRATCH/server-b"
kill $server; wait $server 2> /dev/null || true

# A server of another version.
"$PAGODA" server --listen 127.0.0.1:17892 --data "$SCRATCH/server-c" --pretend-version 0.0.1-other \
  > "$SCRATCH/server.log" 2>&1 &
server=$!
for _ in $(seq 100); do grep -qs 17892 "$SCRATCH/server.log" && break; sleep 0.05; done
refused "server of another version" "version.*0\.0\.1-other|0\.0\.1-other.*version" \
  timeout 30 "$PAGODA" worker "$job" --servers 127.0.0.1:17892 --rank 0 --workers 1 \
  --set job.output="$SCRATCH/version"
kill $server; wait $server 2> /dev/null || true

# No disk space, on a small tmpfs.
mkdir "$SCRATCH/tiny"
if mount -t tmpfs -o size=24m tmpfs "$SCRATCH/tiny" 2> /dev/null; then
  trap 'umount -l "$SCRATCH/tiny"; cleanup' EXIT
  refused "no disk space" "no space|disk" timeout 300 "$PAGODA" train algorithms/deepfm/job.toml \
    --set job.output="$SCRATCH/tiny/run" --set model.embedding_dim=256 --set train.epochs=50 \
    --set evaluation.every_steps=1000000
else
  cannot_run "mounting a tmpfs needs root"
fi
echo "$checks kinds of bad input refused in words"

#!/usr/bin/env bash
# Mistakes of the user: exit code 1 (2 on the command line), one clear line, no
# partial effect, never a crash.
. "$(dirname "$0")/lib.sh"

checks=0
refused() {  # refused NAME PATTERN COMMAND...
  local name="$1" pattern="$2"
  shift 2
  run "$name" 1 timeout 30 "$@"
  says "$name" "$pattern"
  [ "$(grep -c '^pagoda: error: ' "$SCRATCH/$name.log")" -eq 1 ] || { cat "$SCRATCH/$name.log"; fail "$name: not one error line"; }
  ! grep -qE 'terminate called|Segmentation|bug:' "$SCRATCH/$name.log" || fail "$name crashed"
  checks=$((checks + 1))
}
train() { "$PAGODA" train "$JOB" --set job.output="$SCRATCH/out" "$@"; }
export -f train
export PAGODA JOB SCRATCH
trained() { bash -c 'train "$@"' train "$@"; }

refused key "--set train.batchsize: unknown key 'batchsize' in \[train\]; did you mean 'batch_size'\?" \
  "$PAGODA" train "$JOB" --set train.batchsize=3
sed 's/^batch_size/batchsize/' "$JOB" > "$SCRATCH/bad.toml"
line="$(grep -n batchsize "$SCRATCH/bad.toml" | cut -d: -f1)"
refused line "bad.toml:$line: unknown key 'batchsize' in \[train\]; did you mean 'batch_size'\?" \
  "$PAGODA" train "$SCRATCH/bad.toml"
refused type "train.batch_size: expected integer, found text" "$PAGODA" train "$JOB" --set train.batch_size=many
refused range "train.epochs: 0 is out of range: 1 to" "$PAGODA" train "$JOB" --set train.epochs=0
printf '\n= 1\n' > "$SCRATCH/broken.toml"
refused toml "broken.toml:2: " "$PAGODA" train "$SCRATCH/broken.toml"
refused nojob "cannot read the job file .*nothing.toml" "$PAGODA" train "$SCRATCH/nothing.toml"
refused nofile "no_such_file.csv" "$PAGODA" train "$JOB" --set job.output="$SCRATCH/out" --set data.files="$SCRATCH/no_such_file.csv"
: > "$SCRATCH/empty.csv"
refused emptyfile "empty.csv.*empty" "$PAGODA" train "$JOB" --set job.output="$SCRATCH/out" --set data.files="$SCRATCH/empty.csv"
refused column "salary" "$PAGODA" train "$JOB" --set job.output="$SCRATCH/out" --set features.salary.kind=numeric
refused listen "HOST:PORT" "$PAGODA" server --listen nonsense --data "$SCRATCH/s"
refused plaintext "insecure-plaintext" "$PAGODA" server --listen 0.0.0.0:0 --data "$SCRATCH/s"
refused rank "rank 2 .*workers 2" "$PAGODA" worker "$JOB" --servers 127.0.0.1:1 --rank 2 --workers 2
refused verify "." "$PAGODA" checkpoint verify "$SCRATCH/nothing"
refused list "no directory" "$PAGODA" checkpoint list "$SCRATCH/nothing"
refused explain "did you mean 'deepfm'" "$PAGODA" config explain deepfn

# A port in use, and a server of another version.
"$PAGODA" server --listen 127.0.0.1:0 --data "$SCRATCH/server" --address-file "$SCRATCH/address" \
  --pretend-version 0.0.1-other > "$SCRATCH/server.log" 2>&1 &
server=$!
await 20 test -s "$SCRATCH/address" || { cat "$SCRATCH/server.log"; fail "the server does not start"; }
address="$(cat "$SCRATCH/address")"
refused port "$address.*in use" "$PAGODA" server --listen "$address" --data "$SCRATCH/other"
refused datadir "in use" "$PAGODA" server --listen 127.0.0.1:0 --data "$SCRATCH/server"
refused version "version.*0\.0\.1-other|0\.0\.1-other.*version" \
  "$PAGODA" worker "$JOB" --servers "$address" --rank 0 --workers 1 --set job.output="$SCRATCH/v"
kill -TERM $server
code=0
wait $server || code=$?
[ $code -eq 0 ] || fail "a server asked to stop ends with code $code"

# A server that is not there is named.
refused noserver "127.0.0.1:1" "$PAGODA" worker "$JOB" --servers 127.0.0.1:1 --rank 0 --workers 1 --set job.output="$SCRATCH/w"

# The command line itself.
run nothing 2 "$PAGODA"
run word 2 "$PAGODA" trian
run option 2 "$PAGODA" train "$JOB" --fast
run help 0 "$PAGODA" train --help
run version_word 0 "$PAGODA" version
says version_word '^pagoda [0-9]+\.[0-9]+\.[0-9]+'
[ ! -e "$SCRATCH/out/cuts" ] || fail "a refused job left cuts"
echo "$checks mistakes refused in words"

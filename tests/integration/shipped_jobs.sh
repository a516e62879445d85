#!/usr/bin/env bash
# Every job file beside a model parses and trains for a few steps; its cut evaluates.
. "$(dirname "$0")/lib.sh"
count=0
for job in "$ROOT"/algorithms/*/*.toml; do
  case "$job" in */claim*.toml) continue ;; esac  # Of worlds that `pagoda claim` makes first.
  # Prepared from data that is not in the repository (deploy/prepare_interactions.py).
  grep -q '^files = \["../../runs/' "$job" && continue
  name="$(basename "$(dirname "$job")")-$(basename "$job" .toml)"
  run "$name" 0 "$PAGODA" train "$job" --set job.output="$SCRATCH/$name" --set train.steps_max=3 \
    --set evaluation.every_steps=1000000
  cut="$(sed -n 's/^best cut: //p' "$SCRATCH/$name.log" | tail -n 1)"  # The last stage's.
  run "$name-verify" 0 "$PAGODA" checkpoint verify "$cut"
  if grep -q '^\[data.test\]' "$job"; then
    run "$name-evaluate" 0 "$PAGODA" evaluate --cut "$cut" --input test
    says "$name-evaluate" '^test: (AUC|recall) [0-9]'
  fi
  count=$((count + 1))
done
[ $count -ge 9 ] || fail "only $count job files"
echo "$count shipped jobs train"

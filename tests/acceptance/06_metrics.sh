#!/usr/bin/env bash
# scikit-learn recomputes AUC, GAUC and log-loss from predict's file to 1e-6, and the
# store's contents are the same before and after evaluation and prediction.
. "$(dirname "$0")/lib.sh"
need_python sklearn numpy
build
job=algorithms/deepfm/job.toml
"$PAGODA" train "$job" --set train.steps_max=300 --set job.output="$SCRATCH/run" > "$SCRATCH/log" 2>&1 \
  || { tail "$SCRATCH/log"; exit 1; }
cut="$(ls -d "$SCRATCH"/run/cuts/* | tail -n 1)"
before="$("$PAGODA" checkpoint verify "$cut" --hash)"
sums() { find "$cut" "$SCRATCH"/run -path '*cuts*' -type f -print0 | sort -z | xargs -0 sha256sum; }
sums > "$SCRATCH/before.sha"
"$PAGODA" evaluate --cut "$cut" --input test | tee "$SCRATCH/evaluation"
"$PAGODA" predict --cut "$cut" --input test --labels --output "$SCRATCH/scores.csv"
after="$("$PAGODA" checkpoint verify "$cut" --hash)"
sums > "$SCRATCH/after.sha"
[ "$before" = "$after" ] || not_met "the rows changed"
cmp "$SCRATCH/before.sha" "$SCRATCH/after.sha" || not_met "files of the cut changed"
"$PYTHON" tests/acceptance/recompute_metrics.py "$SCRATCH/scores.csv" "$SCRATCH/evaluation"

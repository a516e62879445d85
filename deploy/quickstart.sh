#!/usr/bin/env bash
# From a fresh clone on Debian 12 to a trained recommendation model, and what to try
# next: installs what is missing, builds, trains the shipped Adult job, scores the test
# file and prints the test AUC.
#
#   deploy/quickstart.sh
#
# Results go to runs/quickstart (an earlier quickstart there is replaced). JOBS sets
# the number of parallel compilers (default: the number of cores).
set -euo pipefail
cd "$(dirname "$0")/.."

job=algorithms/dnn/job.toml
output=runs/quickstart
pagoda=build/release/deploy/pagoda
jobs="${JOBS:-$(nproc)}"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT

step() { printf '\n==> %s\n' "$*"; }

step "Packages"
deploy/install_packages.sh

step "Build (release, $jobs compilers; ten minutes on 2 cores the first time)"
if ! cmake --preset release > "$log" 2>&1; then
  cat "$log"
  exit 1
fi
ninja -C build/release -j "$jobs" pagoda

step "Train: $job"
"$pagoda" train "$job" --set "job.output=$output" --overwrite | tee "$log"
cut="$(sed -n 's/^best cut: //p' "$log" | tail -n 1)"

step "Score the test file, row by row"
"$pagoda" predict --cut "$cut" --input test --output "$output/scores.csv"
"$pagoda" evaluate --cut "$cut" --input test | tee "$log"
auc="$(grep -oE '\bAUC [0-9.]+' "$log" | head -n 1 | cut -d' ' -f2)"

cat <<END

test AUC $auc    scores: $output/scores.csv    model: $cut

Three things to try next:
  1. The same job as two parameter servers and two workers, over gRPC:
       $pagoda launch $job --servers 2 --workers 2 --set job.output=runs/launched
  2. Another model on MovieLens ratings, then one row of its item table:
       $pagoda train algorithms/deepfm/job.toml --set job.output=runs/deepfm
       $pagoda table stat runs/deepfm/server-0
  3. The curves, and every key of a job file:
       tensorboard --logdir runs
       $pagoda config explain
END

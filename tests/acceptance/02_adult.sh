#!/usr/bin/env bash
# UCI Adult, mean test AUC of 5 seeds: the reference model (8 categorical embeddings
# of dim 8, numeric inputs, one MLP) >= 0.905; the best shipped job >= 0.910.
# Selection and early stopping use 10 % of adult.data; adult.test is read once per
# seed, by predict.
. "$(dirname "$0")/lib.sh"
build

mean_auc() {  # mean_auc JOB: the mean over seeds 1..5
  local job="$1" seed out cut sum=0
  for seed in 1 2 3 4 5; do
    out="$SCRATCH/$(basename "$(dirname "$job")")-$(basename "$job" .toml)-$seed"
    "$PAGODA" train "$job" --set job.seed=$seed --set job.output="$out" > "$out.log" 2>&1 \
      || { tail -n 5 "$out.log" >&2; exit 1; }
    cut="$(grep -oE '^best cut: .*' "$out.log" | tail -n 1 | cut -d' ' -f3)"
    auc="$(auc_of "$cut" test)"
    echo "$(basename "$job") seed $seed: test AUC $auc" >&2
    sum="$(awk -v a="$sum" -v b="$auc" 'BEGIN {print a + b}')"
  done
  awk -v a="$sum" 'BEGIN {printf "%.5f", a / 5}'
}

reference="$(mean_auc algorithms/dnn/adult_reference.toml)"
best="$(mean_auc algorithms/dcnv2/job.toml)"
awk -v r="$reference" -v b="$best" 'BEGIN {exit !(r >= 0.905 && b >= 0.910)}' \
  || not_met "reference $reference (needs 0.905), best $best (needs 0.910)"
echo "reference $reference (PERSIA 0.89286), best shipped job $best, gradient-boosted trees .927: $(awk -v b="$best" 'BEGIN {printf "%+.4f", b - 0.927}')"

#!/usr/bin/env bash
# docs/adding_a_model.md followed to the letter in a copy of the tree: its example, a model in at
# most 100 lines of C++, is put where the page says and registered as it says; it then trains on
# bundled data, better than chance, and `pagoda config explain` knows it.
. "$(dirname "$0")/lib.sh"
lines="$(grep -cvE '^[[:space:]]*(//.*)?$' tests/algorithms/example_model.cc)"
[ "$lines" -le 100 ] || not_met "the example has $lines lines of C++"
grep -q 'tests/algorithms/example_model.cc' docs/adding_a_model.md \
  || not_met "docs/adding_a_model.md does not name its example"

tree="$SCRATCH/tree"
mkdir -p "$tree"
git ls-files -z | tar --null -T - -cf - | tar -C "$tree" -xf -
cd "$tree"
# 1. The file.
mkdir algorithms/nfm
sed 's|#include "tests/algorithms/example_model.h"|#include "algorithms/models.h"|' \
  tests/algorithms/example_model.cc > algorithms/nfm/nfm.cc
# 6.1. Declared, listed, built.
sed -i 's|^ModelInfo FmModelInfo();|&\nModelInfo NeuralFmModelInfo();|' algorithms/models.h
sed -i 's|LrModelInfo(), |&NeuralFmModelInfo(), |' algorithms/registry.cc
sed -i 's|fm/fm.cc|fm/fm.cc nfm/nfm.cc|' algorithms/CMakeLists.txt
for file in algorithms/models.h algorithms/registry.cc; do
  [ "$(grep -c NeuralFmModelInfo "$file")" = 1 ] || not_met "$file was not changed as the page says"
done
# 6.3. A job on bundled data.
sed 's/name = "movielens-fm"/name = "movielens-nfm"/; s/name = "fm"/name = "nfm"/
     s/^embedding_dim = 16/&\nhidden = [32]/' algorithms/fm/job.toml > algorithms/nfm/job.toml
{ cmake --preset release && ninja -C build/release pagoda; } > "$SCRATCH/build.log" 2>&1 \
  || { tail -n 30 "$SCRATCH/build.log"; not_met "the tree with the new model does not build"; }
build/release/deploy/pagoda config explain --markdown > "$SCRATCH/explained"
grep -q 'name = "nfm"' "$SCRATCH/explained" \
  || not_met "config explain does not know the model"
build/release/deploy/pagoda train algorithms/nfm/job.toml --set job.output="$SCRATCH/out" \
  --set train.epochs=2 > "$SCRATCH/train.log" 2>&1 \
  || { tail -n 20 "$SCRATCH/train.log"; not_met "the new model does not train"; }
auc="$(grep -oE '\bAUC [0-9.]+' "$SCRATCH/train.log" | tail -n 1 | cut -d' ' -f2)"
awk -v a="$auc" 'BEGIN {exit !(a >= 0.7)}' || not_met "AUC $auc"
echo "a model in $lines lines, added as docs/adding_a_model.md says, trains to AUC $auc"

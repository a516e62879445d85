#!/usr/bin/env bash
# `pagoda claim`: a small claim that holds (exit code 0), one that does not (1), one whose
# null world breaks it (1), errors (3), a pilot (4), Ctrl-C and going on, and the list.
. "$(dirname "$0")/lib.sh"

# Worlds of two ids whose sum, modulo 2, is the click, nine times of ten: products are needed.
# In the null worlds the click depends on each id alone.
world() {  # world DIRECTORY SEED KIND
  mkdir -p "$1"
  for file in train:12000 valid:2000 test:4000; do
    awk -v seed="$2$file" -v rows="${file#*:}" -v kind="$3" 'BEGIN {
      for (i = 1; i <= length(seed); ++i) s = s * 7 + index("0123456789abcdefghijklmnopqrstuvwxyz", substr(seed, i, 1))
      srand(s)
      print "user,a,b,click,q"
      for (i = 0; i < rows; ++i) {
        a = int(rand() * 40); b = int(rand() * 40)
        q = kind == "planted" ? ((a + b) % 2 ? 0.9 : 0.1) : (a % 2 ? 0.5 : 0.1) + (b % 2 ? 0.4 : 0)
        print int(i / 20) "," a "," b "," (rand() < q ? 1 : 0) "," q
      }
    }' > "$1/${file%:*}.csv"
  done
}

mkdir -p "$SCRATCH/claims/small"
cat > "$SCRATCH/claims/small/job.toml" <<'END'
[job]
name = "small"
[schema]
label = "click"
[features]
a = "id"
b = "id"
[model]
name = "lr"
[sparse]
learning_rate = 0.1
[dense]
optimizer = "adam"
learning_rate = 0.01
[train]
batch_size = 256
epochs = 3
[server]
memory_mb = 16
END
cat > "$SCRATCH/claims/small/claim.toml" <<'END'
[claim]
title = "hidden layers find what is in no id alone"
seeds = 2
[world.planted]
directory = "planted-{seed}"
[world.null]
directory = "null-{seed}"
control = true
[arm.flat]
job = "job.toml"
[arm.deep]
job = "job.toml"
set = ["model.name=dnn", "model.hidden=[16]", "model.embedding_dim=4"]
[arm.warm]
job = "job.toml"
scored = false
[arm.oracle]
column = "q"
[metric.auc]
kind = "auc"
target = "q"
[metric.gauc]
kind = "gauc"
target = "click"
user = "user"
[metric.steps]
kind = "best_step"
[metric.size]
kind = "parameters"
[check.deep_wins]
world = "planted"
metric = "auc"
arm = "deep"
over = "flat"
margin = 0.2
gap = "auc(oracle) - auc(flat)"
gap_closure = 0.5
null_world = "null"
null_band = 0.02
[check.flat_learns_nothing]
world = "planted"
value = "abs(gauc(flat) - 0.5)"
at_most = 0.05
END

claim() { (cd "$SCRATCH/claims/small" && exec "$PAGODA" claim "$@"); }
make_worlds() {  # for the seeds that a claim file asks for: those it does not find it names
  local try seed
  for try in 1 2 3 4 5 6 7 8; do
    claim "$1" ${2:+$2} --output "$SCRATCH/none" > "$SCRATCH/missing.log" 2>&1 || true
    seed="$(sed -nE 's/.*there is no directory .*(planted|null)-([0-9]+)$/\1 \2/p' "$SCRATCH/missing.log")"
    [ -n "$seed" ] || return 0
    world "$SCRATCH/claims/small/${seed% *}-${seed#* }" "${seed#* }" "${seed% *}"
  done
}

# The claim holds.
make_worlds claim.toml
run pass 0 claim claim.toml --output "$SCRATCH/out"
says pass '^small: PASS$'
says pass '^deep_wins \[planted\] +deep - flat +auc +0\.[0-9]+ \([01]\.[0-9]+ of the gap\)'
says pass '^planted +deep +size +[0-9]'
grep -q '"verdict": "PASS"' "$SCRATCH/out/report.json" || fail "report.json"
grep -q '^| deep_wins \[planted\] | deep - flat | auc | ' "$SCRATCH/out/report.md" || fail "report.md"
[ -z "$(find "$SCRATCH/out" -name model)" ] || fail "models were left"
[ -z "$(find "$SCRATCH/out/runs" -name 'warm-*')" ] || fail "an arm that nothing needs was run"

# Said again from what was kept.
run again 0 claim claim.toml --output "$SCRATCH/out"
grep -qE '^\[[0-9]+/' "$SCRATCH/again.log" && fail "finished runs were run again"
says again 'of [0-9]+ are finished already'
diff <(grep -v finished "$SCRATCH/again.log") <(grep -vE '^\[[0-9]+/|finished' "$SCRATCH/pass.log") || fail "another report"

# Ctrl-C keeps what is finished, and the same command goes on.
rm -rf "$SCRATCH/half"
claim claim.toml --output "$SCRATCH/half" > "$SCRATCH/half.log" 2>&1 &
pid=$!
await 60 grep -qE '^\[[0-9]+/' "$SCRATCH/half.log" || fail "nothing was finished in a minute"
kill -INT "$(pgrep -P $pid -x pagoda || echo $pid)"
code=0
wait $pid || code=$?
[ $code -eq 130 ] || fail "after Ctrl-C: exit code $code"
run rest 0 claim claim.toml --output "$SCRATCH/half"
says rest 'of [0-9]+ are finished already'
diff <(sed -n '/^world/,$p' "$SCRATCH/rest.log") <(sed -n '/^world/,$p' "$SCRATCH/pass.log") || fail "going on gave other numbers"

# A directory in which another run is at work.
mkdir "$SCRATCH/used"
run used 3 flock "$SCRATCH/used/LOCK" "$PAGODA" claim "$SCRATCH/claims/small/claim.toml" --output "$SCRATCH/used"
says used 'used is in use by another'

# A claim that does not hold; a claim that wins in the null world, too.
edit() { sed "$2" "$SCRATCH/claims/small/claim.toml" > "$SCRATCH/claims/small/$1"; }
edit fail.toml 's/^arm = "deep"/arm = "flat"/; s/^over = "flat"/over = "deep"/'
make_worlds fail.toml
run fails 1 claim fail.toml --output "$SCRATCH/fail"
says fails '^fail: FAIL$'
says fails '^deep_wins: the mean -0\.[0-9]+ is below the margin 0\.2$'
edit null.toml 's/directory = "null-/directory = "planted-/'
make_worlds null.toml
run null 1 claim null.toml --output "$SCRATCH/null"
says null '^deep_wins: in the null world 0\.[0-9]+ is not within 0\.02 of 0$'
says null 'met|NOT MET'

# A pilot gives no verdict.
world "$SCRATCH/claims/small/planted-1" 1 planted
world "$SCRATCH/claims/small/null-1" 1 null
run pilot 4 claim claim.toml --pilot 1 --output "$SCRATCH/pilot"
says pilot 'PILOT: a throw-away seed, no verdict'
grep -qE 'PASS|FAIL' "$SCRATCH/pilot.log" && fail "a pilot with a verdict"

# Errors: exit code 3, in words.
edit bad.toml 's/^over = "flat"/ovr = "flat"/'
run bad 3 claim bad.toml
says bad "bad\.toml:[0-9]+: unknown key 'ovr' in \[check\.deep_wins\]; did you mean 'over'\?"
run gone 3 claim nothing --claims "$SCRATCH/claims"
says gone 'cannot read .*claims/nothing/claim.toml'
edit arm.toml 's/model.hidden=\[16\]/model.hiden=[16]/'
make_worlds arm.toml
run arm 3 claim arm.toml --output "$SCRATCH/arm"
says arm 'deep in planted seed [0-9]+: its process ended with exit code 1; see .*train\.log:'
says arm "did you mean 'hidden'"
run usage 2 claim claim.toml --seeds 0
run list 0 claim --list --claims "$SCRATCH/claims"
says list '^small +[0-9a-f]{16}  hidden layers find what is in no id alone$'
echo "claims: held, not held, broken by the null world, resumed, refused"

# Sourced by every acceptance script: builds the command, and makes a scratch folder
# that is removed at exit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
ROOT="$PWD"
PAGODA="$ROOT/build/release/deploy/pagoda"
PAGODA_DATA_DIR="${PAGODA_DATA_DIR:-$ROOT/../shared/data}"
export PAGODA_DATA_DIR

build() {  # build [TARGETS...]: release preset, quiet unless it fails.
  local log
  log="$(mktemp)"
  { cmake --preset release && ninja -C build/release "${@:-pagoda}"; } > "$log" 2>&1 \
    || { cat "$log"; exit 1; }
  rm -f "$log"
}

SCRATCH="$(mktemp -d)"
cleanup() {
  # Whatever a failed script left running.
  jobs -p | xargs -r kill -9 2>/dev/null || true
  rm -rf "$SCRATCH"
}
trap cleanup EXIT

cannot_run() {  # cannot_run WHAT IS MISSING
  echo "cannot run here: $*"
  exit 77
}

not_met() {
  echo "NOT MET: $*"
  exit 1
}

# A Python with the packages named, or exit 77. Sets PYTHON.
need_python() {
  local python
  for python in "${PAGODA_PYTHON:-}" "$ROOT/.venv/bin/python" python3; do
    [ -n "$python" ] || continue
    if "$python" -c "import $(echo "$*" | tr ' ' ',')" > /dev/null 2>&1; then
      PYTHON="$python"
      return
    fi
  done
  cannot_run "Python packages $* (python3 -m venv .venv && .venv/bin/pip install -r tests/benchmarks/peers/requirements.txt)"
}

# The last AUC that `pagoda evaluate` prints for CUT and INPUT.
auc_of() {
  "$PAGODA" evaluate --cut "$1" --input "$2" | grep -oE '\bAUC [0-9.]+' | tail -n 1 | cut -d' ' -f2
}

# claim_holds NAME: runs its claim, prints the table and, last, the verdict. Finished runs are
# kept in runs/claims/NAME and used again. PAGODA_CLAIM_FLAGS: --fast, for a quick look.
claim_holds() {
  local code=0 begin=$SECONDS
  [ -f "algorithms/$1/claim.toml" ] || cannot_run "algorithms/$1/claim.toml"
  build
  "$PAGODA" claim "$1" ${PAGODA_CLAIM_FLAGS:-} > "$SCRATCH/claim.log" 2>&1 || code=$?
  cat "$SCRATCH/claim.log"
  [ $code -le 1 ] || not_met "claim $1 ended with exit code $code: $(tail -n 1 "$SCRATCH/claim.log")"
  [ $code -eq 0 ] || not_met "claim $1: $(grep -c 'NOT MET' "$SCRATCH/claim.log") checks do not hold"
  echo "claim $1: PASS, $(grep -cE '  met( |$)' "$SCRATCH/claim.log") checks hold ($((SECONDS - begin)) s)"
}

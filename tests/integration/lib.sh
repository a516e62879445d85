# Sourced by every script of this folder. PAGODA is the command to test (ctest sets
# it); SCRATCH is a folder of the script's own, removed at the end with every process
# that the script started.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
ROOT="$(cd "$HERE/../.." && pwd)"
PAGODA="${PAGODA:-$ROOT/build/release/deploy/pagoda}"
JOB="$HERE/small.toml"
[ -x "$PAGODA" ] || { echo "no command at $PAGODA"; exit 1; }

SCRATCH="$(mktemp -d)"
cleanup() {
  local pid
  for pid in $(jobs -p); do kill -9 "$pid" 2> /dev/null || true; done
  rm -rf "$SCRATCH"
}
trap cleanup EXIT

fail() {
  echo "FAILED: $*"
  exit 1
}

# run NAME EXIT-CODE COMMAND...: runs it, output in $SCRATCH/NAME.log.
run() {
  local name="$1" want="$2" code=0
  shift 2
  "$@" > "$SCRATCH/$name.log" 2>&1 || code=$?
  [ "$code" -eq "$want" ] || { tail -n 25 "$SCRATCH/$name.log"; fail "$name: exit code $code, not $want"; }
}

# says NAME PATTERN: the output of `run NAME` has a line that matches.
says() {
  grep -qE -- "$2" "$SCRATCH/$1.log" || { tail -n 25 "$SCRATCH/$1.log"; fail "$1 does not say /$2/"; }
}

# await SECONDS COMMAND...: until it succeeds.
await() {
  local tries=$(($1 * 20))
  shift
  while ! "$@" > /dev/null 2>&1; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || return 1
    sleep 0.05
  done
}

millis() { echo $(($(date +%s%N) / 1000000)); }

# pid_of NAME LOG: the process id that the launcher printed for NAME.
pid_of() { sed -nE "s/^$1 started, pid ([0-9]+)$/\1/p" "$2" | tail -n 1; }

#!/usr/bin/env bash
# Sets a machine up and passes the tests: installs what is missing, builds, checks
# the tree's rules, runs the tests, then the same tests under sanitizers.
#
#   tests/run.sh              everything CI runs
#   tests/run.sh --quick      release build, lint, unit tests
#   tests/run.sh --slow       everything, and the tests labelled slow
#
# Each stage prints its seconds. JOBS (default: the number of cores) sets the
# number of parallel compilers.
set -euo pipefail
cd "$(dirname "$0")/.."

mode="${1:-}"
case "$mode" in ""|--quick|--slow) ;; *) sed -n '2,11p' "$0" | cut -c3-; exit 2 ;; esac
jobs="${JOBS:-$(nproc)}"
started=$SECONDS

stage() {  # stage NAME COMMAND...
  local name="$1" begin=$SECONDS
  shift
  printf '\n=== %s\n' "$name"
  "$@"
  printf '=== %s: %d s\n' "$name" "$((SECONDS - begin))"
}

build() {  # build PRESET TARGETS...
  local preset="$1"
  shift
  # Quiet unless it fails.
  cmake --preset "$preset" -DPAGODA_CUDA=EMULATED > "build-$preset.log" 2>&1 || { cat "build-$preset.log"; return 1; }
  rm -f "build-$preset.log"
  ninja -C "build/$preset" -j "$jobs" --quiet "$@"
}

# Sanitizers pay where memory is handled by hand and where threads meet: kernels,
# tape, store, parsers, service. (gRPC itself is not instrumented, so what needs it
# is left out.)
sanitized() {  # sanitized PRESET
  build "$1" unit_tests
  # Quiet unless it fails.
  local log="build/$1/unit_tests.log"
  if ! ctest --test-dir "build/$1" -L unit -LE slow -j "$jobs" --output-on-failure \
    --no-tests=error > "$log" 2>&1; then
    # The output of the tests that failed, not the hundreds of lines of those that passed.
    grep -vE '^ *(Start +[0-9]+:|[0-9]+/[0-9]+ Test +#[0-9]+: .* Passed )' "$log"
    return 1
  fi
  tail -n 15 "$log"
}

export TSAN_OPTIONS="ignore_noninstrumented_modules=1:halt_on_error=1:second_deadlock_stack=1:suppressions=$PWD/tests/tsan_suppressions.txt"
export UBSAN_OPTIONS="print_stacktrace=1"
export ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=1"

stage "packages" deploy/install_packages.sh --with-tests
# GPU kernels are tested under emulation here, with or without a toolkit.
stage "release build" build release all
stage "lint" python3 tests/lint/lint.py --headers build/release
if [ "$mode" = --quick ]; then
  stage "unit tests" ctest --test-dir build/release -L unit -LE slow -j "$jobs" --output-on-failure \
    --no-tests=error
  exit 0
fi
stage "ASan + UBSan" sanitized asan
stage "TSan" sanitized tsan
# A few of the deliberately broken GPU kernels; all of them: acceptance 25.
stage "10 GPU mutants" python3 tests/kernels/gpu_mutants.py \
  --builds build/release build/asan build/tsan --draw 10 \
  --seed "$(git rev-parse HEAD 2> /dev/null || echo 1)"
exclude=(-LE 'slow|gpu')
[ "$mode" = --slow ] && exclude=(-LE 'gpu')
stage "tests" ctest --test-dir build/release "${exclude[@]}" -j "$jobs" --output-on-failure \
  --no-tests=error
printf '\nall stages passed in %d s\n' "$((SECONDS - started))"

#!/usr/bin/env bash
# libFuzzer on what reads the store's bytes: rows (keys and values), log records, manifests,
# registries, steps of exact tables; no crash, leak or sanitizer report.
#   FUZZ_SECONDS (default 600): for each; two run at a time.
. "$(dirname "$0")/lib.sh"
compiler="$(command -v clang++-14 || command -v clang++)" || cannot_run "clang++ with libFuzzer"
echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' \
  | "$compiler" -fsanitize=fuzzer -x c++ - -o "$SCRATCH/empty" 2> /dev/null \
  || cannot_run "libFuzzer for $compiler"
seconds="${FUZZ_SECONDS:-600}"
targets="$(sed -n 's/^foreach(target fuzz_log_record/fuzz_log_record/;T;:a;/)/!{N;ba};s/)//;p' tests/fuzz/CMakeLists.txt | tr -s ' \n' '  ')"
{ cmake -S . -B build/fuzz -G Ninja -DCMAKE_CXX_COMPILER="$compiler" -DPAGODA_FUZZ=ON \
    && ninja -C build/fuzz $targets; } > "$SCRATCH/build.log" 2>&1 \
  || { tail -n 30 "$SCRATCH/build.log"; not_met "the fuzzers do not build"; }
fuzz() {
  mkdir "$SCRATCH/$1"
  ./build/fuzz/tests/fuzz/"$1" -max_total_time="$seconds" -max_len=4096 -print_final_stats=1 \
    -artifact_prefix="$SCRATCH/$1-" "$SCRATCH/$1" > "$SCRATCH/$1.log" 2>&1 \
    || { tail -n 40 "$SCRATCH/$1.log"; return 1; }
}
export -f fuzz
export SCRATCH seconds
printf '%s\n' $targets | xargs -P 2 -I{} bash -c 'fuzz {}' || not_met "a fuzzer found something"
for target in $targets; do
  echo "$target: $(grep -oE 'number_of_executed_units: *[0-9]+' "$SCRATCH/$target.log" | grep -oE '[0-9]+$') inputs"
done
echo "$(wc -w <<< "$targets") fuzzers, $seconds s each: 0 crashes"

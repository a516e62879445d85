#!/usr/bin/env bash
# Runs every acceptance script and prints a table.
#
#   tests/acceptance/run.sh [NN ...]     all, or those whose number is given
#
# A script exits 0 (met), 1 (not met) or 77 (cannot run here: counted as *not
# proven*) and prints its figure last.
set -uo pipefail
cd "$(dirname "$0")/../.."
mkdir -p runs/acceptance
results=()
failed=0
for script in tests/acceptance/[0-9][0-9]_*.sh; do
  name="$(basename "$script" .sh)"
  if [ $# -gt 0 ]; then
    case " $* " in *" ${name:0:2} "*) ;; *) continue ;; esac
  fi
  log="runs/acceptance/$name.log"
  begin=$SECONDS
  printf '%s ...\n' "$name"
  bash "$script" > "$log" 2>&1 < /dev/null
  code=$?
  case $code in
    0) verdict="met" ;;
    77) verdict="not proven" ;;
    *) verdict="NOT MET"; failed=1 ;;
  esac
  results+=("$(printf '%-24s %-10s %6d s  %s' "$name" "$verdict" $((SECONDS - begin)) "$(tail -n 1 "$log")")")
done
printf '\n%-24s %-10s %8s  %s\n' "script" "verdict" "time" "figure"
printf '%s\n' "${results[@]}"
exit $failed

#!/usr/bin/env bash
# What looks at rows on disk: table scan, top, stat, compact; checkpoint delta, verify.
. "$(dirname "$0")/lib.sh"

run train 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/out" --set train.steps_max=20
run more 0 "$PAGODA" train "$JOB" --set job.output="$SCRATCH/out" --resume --servers 2
cut_at() { "$PAGODA" checkpoint list "$SCRATCH/out" | grep "step $1 " | cut -d' ' -f1; }
old="$(cut_at 20)"
new="$(cut_at 40)"

# stat counts what scan prints, over both servers.
run stat 0 "$PAGODA" table stat "$new"
says stat '^    a row: [0-9]+ bytes stored, about [0-9.]+ on disk .*, [0-9]+ in memory$'
rows="$(sed -nE 's/^[a-z]+  dim .* rows ([0-9]+) .*/\1/p' "$SCRATCH/stat.log" | awk '{n += $1} END {print n}')"
run scan 0 "$PAGODA" table scan "$new"
[ "$(wc -l < "$SCRATCH/scan.log")" -eq $((rows + 1)) ] || fail "scan prints $(wc -l < "$SCRATCH/scan.log") lines for $rows rows"
[ "$(awk -F'\t' 'NF != 5' "$SCRATCH/scan.log" | wc -l)" -eq 0 ] || fail "scan does not print 5 columns"
[ "$(cut -f1,2 "$SCRATCH/scan.log" | sort -u | wc -l)" -eq $((rows + 1)) ] || fail "scan prints a row twice"

# A line of scan is what get says; --from-id goes on where --limit stopped.
id="$(awk -F'\t' '$1 == "occupation" {print $2; exit}' "$SCRATCH/scan.log")"
run get 0 "$PAGODA" table get "$new" occupation "$id"
[ "$(sed -n 's/^weights //p' "$SCRATCH/get.log")" = \
  "$(awk -F'\t' -v id="$id" '$1 == "occupation" && $2 == id {print $4}' "$SCRATCH/scan.log")" ] || fail "scan and get differ"
run all 0 "$PAGODA" table scan "$new" --table occupation --csv
run first 0 "$PAGODA" table scan "$new" --table occupation --csv --limit 3
run rest 0 "$PAGODA" table scan "$new" --table occupation --csv --from-id "$(tail -n 1 "$SCRATCH/first.log" | cut -d, -f2)"
{ cat "$SCRATCH/first.log"; tail -n +3 "$SCRATCH/rest.log"; } | cmp - "$SCRATCH/all.log" || fail "pages of a scan differ from the whole"
run nobody 1 "$PAGODA" table scan "$new" --table nobody
says nobody "no table 'nobody'; tables: .*occupation"

# The largest norm, computed from the scan.
run top 0 "$PAGODA" table top "$new" --table education --count 3
awk -F'\t' '$1 == "education" {n = split($4, w, " "); s = 0; for (i = 1; i <= n; i++) s += w[i] * w[i]; print s, $2}' \
  "$SCRATCH/scan.log" | sort -g -r | head -n 3 | cut -d' ' -f2 > "$SCRATCH/expected"
tail -n +2 "$SCRATCH/top.log" | cut -f2 | cmp - "$SCRATCH/expected" || fail "top is not what the scan says"
run newest 0 "$PAGODA" table top "$new" --by step --count 1
[ "$(tail -n 1 "$SCRATCH/newest.log" | cut -f3)" -eq 40 ] || fail "the newest row is not of step 40"

# A delta between cuts of 1 and 2 servers holds exactly the rows whose step is newer.
run delta 0 "$PAGODA" checkpoint delta "$new" --since "$old" --output "$SCRATCH/delta"
changed="$(awk -F'\t' 'NR > 1 && $3 > 20' "$SCRATCH/scan.log" | wc -l)"
says delta "^$changed rows stored, 0 deleted, "
run verify 0 "$PAGODA" checkpoint verify "$SCRATCH/delta"
says verify "^complete delta: $changed rows stored"
rm "$SCRATCH/delta/MANIFEST"
run again 0 "$PAGODA" checkpoint delta "$new" --since "$old" --output "$SCRATCH/delta"
says again "1 files were there already"
run shard 0 "$PAGODA" checkpoint verify "$SCRATCH/out/server-1/cuts/$(basename "$new")" --hash
says shard '^complete cut of one server: '
printf 'x' >> "$SCRATCH/delta/delta-000001"
run broken 1 "$PAGODA" checkpoint verify "$SCRATCH/delta"
says broken 'delta-000001'

# Compacting changes no row.
hash_of() { "$PAGODA" table stat "$SCRATCH/out/server-0" --hash | grep '^rows '; }
before="$(hash_of)"
run compact 0 "$PAGODA" table compact "$SCRATCH/out/server-0"
says compact 'server-0/store: [0-9]+ bytes before, [0-9]+ after$'
[ "$(hash_of)" = "$before" ] || fail "compacting changed rows"
run compact-cut 1 "$PAGODA" table compact "$new"
run compact-nothing 1 "$PAGODA" table compact "$SCRATCH/nothing"
[ ! -e "$SCRATCH/nothing" ] || fail "compacting nothing made something"

# Rows from .npy files, over both servers; again they replace themselves.
dim="$(sed -nE 's/^occupation  dim ([0-9]+) .*/\1/p' "$SCRATCH/stat.log" | head -n 1)"
python3 - "$SCRATCH" "$dim" <<'END'
import struct, sys
def save(name, kind, shape, values):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    with open(f"{sys.argv[1]}/{name}.npy", "wb") as file:
        file.write(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + values)
dim = int(sys.argv[2])
save("ids", "<u8", (1000,), struct.pack("<1000Q", *(i * 7 for i in range(1000))))
weights = [i + c / 8 for i in range(1000) for c in range(dim)]
save("weights", "<f4", (1000, dim), struct.pack(f"<{1000 * dim}f", *weights))
save("narrow", "<f4", (1000, 1), struct.pack("<1000f", *range(1000)))
END
load() { "$PAGODA" table load occupation "$SCRATCH/out/server-0" "$SCRATCH/out/server-1" --ids "$SCRATCH/ids.npy" --weights "$1"; }
run load 0 load "$SCRATCH/weights.npy"
says load '^table occupation: 1000 rows loaded in [0-9.]+ s, 0 of them were stored before$'
run load-again 0 load "$SCRATCH/weights.npy"
says load-again ', 1000 of them were stored before$'
"$PAGODA" table get "$SCRATCH/out/server-0" occupation 77 > "$SCRATCH/row" 2> /dev/null \
  || "$PAGODA" table get "$SCRATCH/out/server-1" occupation 77 > "$SCRATCH/row"
grep -q '^weights 11 11.125' "$SCRATCH/row" || fail "row 77 is not as it was loaded: $(cat "$SCRATCH/row")"
run load-narrow 1 load "$SCRATCH/narrow.npy"
says load-narrow 'narrow.npy: shape \(1000, 1\) instead of \(1000, '
run load-swapped 1 "$PAGODA" table load occupation "$SCRATCH/out/server-1" "$SCRATCH/out/server-0" \
  --ids "$SCRATCH/ids.npy" --weights "$SCRATCH/weights.npy"
says load-swapped 'server-1 is shard 1 of 2, but is given as 0 of 2'
run load-cut 1 "$PAGODA" table load occupation "$new" --ids "$SCRATCH/ids.npy" --weights "$SCRATCH/weights.npy"
echo "rows on disk are as every command says"

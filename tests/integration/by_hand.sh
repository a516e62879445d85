#!/usr/bin/env bash
# Servers and workers started one by one, as on several machines: a static list, any
# order of start. When the job is over the servers end; when a worker dies, all do.
. "$(dirname "$0")/lib.sh"

start_servers() {  # start_servers NAME: two servers; sets servers, pids
  local name="$1" i
  pids=()
  servers=""
  for i in 0 1; do
    "$PAGODA" server --listen 127.0.0.1:0 --data "$SCRATCH/$name-data-$i" --set server.memory_mb=16 \
      --address-file "$SCRATCH/$name-$i.address" > "$SCRATCH/$name-server-$i.log" 2>&1 &
    pids+=($!)
  done
  for i in 0 1; do
    await 20 test -s "$SCRATCH/$name-$i.address" || fail "$name: server $i does not start"
    servers="$servers${servers:+,}$(cat "$SCRATCH/$name-$i.address")"
  done
}
worker() {  # worker NAME RANK OPTIONS...: in the background
  local name="$1" rank="$2"
  shift 2
  "$PAGODA" worker "$JOB" --servers "$servers" --rank "$rank" --workers 2 \
    --set job.output="$SCRATCH/$name" "$@" > "$SCRATCH/$name-worker-$rank.log" 2>&1 &
  pids+=($!)
}
wait_all() {  # wait_all CODE SECONDS: every process ends with it, in time
  local pid code begin
  begin=$(millis)
  for pid in "${pids[@]}"; do
    code=0
    wait "$pid" || code=$?
    [ $code -eq "$1" ] || { tail -n 4 "$SCRATCH"/*.log; fail "process $pid: exit code $code, not $1"; }
  done
  [ $(($(millis) - begin)) -lt $(($2 * 1000)) ] || fail "took $(($(millis) - begin)) ms"
}

start_servers good
worker good 1  # The second worker first: nobody depends on the order.
sleep 0.3
worker good 0
wait_all 0 30
grep -qE '^finished at step 40:' "$SCRATCH/good-worker-0.log" || fail "worker 0 did not finish"
grep -qE '^finished at step 40:' "$SCRATCH/good-worker-1.log" || fail "worker 1 did not finish"
grep -q 'ended in good order' "$SCRATCH/good-server-1.log" || fail "server 1 did not end in good order"

start_servers death
worker death 0 --set train.steps_max=0 --set train.epochs=1000000
worker death 1 --set train.steps_max=0 --set train.epochs=1000000
await 30 grep -qE '^step ' "$SCRATCH/death-worker-0.log" || { tail "$SCRATCH"/death*.log; fail "the job does not train"; }
kill -9 "${pids[3]}"
wait "${pids[3]}" 2> /dev/null || true
unset 'pids[3]'
wait_all 1 15
for process in server-0 server-1 worker-0; do
  grep -qE 'worker 1|worker-1|rank 1' "$SCRATCH/death-$process.log" \
    || { tail -n 3 "$SCRATCH/death-$process.log"; fail "$process does not name worker 1"; }
done
echo "by hand: good order, and a death that everyone names"

#!/usr/bin/env bash
# One job over two machines, played by network namespaces with a router between them:
# started by hand from a static list, it ends in good order.
#   --cut-off: instead, a whole namespace, a server, or a worker is cut off during
#   training; every process on both sides ends with a named cause within its deadline.
# Exits 77 where namespaces are not permitted.
. "$(dirname "$0")/lib.sh"

tag="pg$$"
east="$tag-e" west="$tag-w" router="$tag-r"
remove_namespaces() {
  local name
  for name in "$east" "$west" "$router"; do ip netns del "$name" 2> /dev/null || true; done
}
if ! command -v ip > /dev/null; then
  echo "cannot run here: no ip command (package iproute2)"
  exit 77
fi
if ! ip netns add "$router" 2> "$SCRATCH/why"; then
  echo "cannot run here: network namespaces are not permitted ($(cat "$SCRATCH/why"))"
  exit 77
fi
trap 'cleanup; remove_namespaces' EXIT

connect() {  # connect NAMESPACE NET: NET.1 there, NET.254 at the router
  local name="$1" net="$2" port="$1-p"
  ip netns add "$name"
  ip -n "$name" link set lo up
  ip link add "${port}0" netns "$name" type veth peer name "${port}1" netns "$router"
  ip -n "$name" address add "$net.1/24" dev "${port}0"
  ip -n "$router" address add "$net.254/24" dev "${port}1"
  ip -n "$name" link set "${port}0" up
  ip -n "$router" link set "${port}1" up
  ip -n "$name" route add default via "$net.254"
}
if ! { connect "$east" 10.77.1 && connect "$west" 10.77.2 \
       && ip netns exec "$router" sysctl -q -w net.ipv4.ip_forward=1; } 2> "$SCRATCH/why"; then
  echo "cannot run here: no virtual network ($(head -n 1 "$SCRATCH/why"))"
  exit 77
fi

declare -A pids
server() {  # server NAME NAMESPACE ADDRESS
  ip netns exec "$2" "$PAGODA" server --listen "$3" --data "$SCRATCH/$1-data" --insecure-plaintext \
    --set server.memory_mb=16 --set server.threads=1 --address-file "$SCRATCH/$1.address" \
    > "$SCRATCH/$1.log" 2>&1 &
  pids[$1]=$!
  await 20 test -s "$SCRATCH/$1.address" || { cat "$SCRATCH/$1.log"; fail "$1 does not start"; }
}
worker() {  # worker NAME NAMESPACE RANK OPTIONS...
  local name="$1" space="$2" rank="$3"
  shift 3
  ip netns exec "$space" "$PAGODA" worker "$JOB" --servers "$servers" --rank "$rank" --workers 2 \
    --insecure-plaintext --set job.output="$SCRATCH/$name-out" "$@" > "$SCRATCH/$name.log" 2>&1 &
  pids[$name]=$!
}
collect() {  # collect CODE SECONDS: every process ends with that code in that time
  local name code begin took times=""
  begin=$(millis)
  declare -A ended=()
  while [ ${#ended[@]} -lt ${#pids[@]} ]; do
    took=$(($(millis) - begin))
    for name in "${!pids[@]}"; do
      [ -z "${ended[$name]:-}" ] && ! kill -0 "${pids[$name]}" 2> /dev/null || continue
      ended[$name]=1
      code=0
      wait "${pids[$name]}" || code=$?
      [ $code -eq "$1" ] || { tail -n 5 "$SCRATCH"/*.log; fail "$name: exit code $code, not $1, after $took ms"; }
      times="$times, $name after $took ms"
    done
    [ $took -le $(($2 * 1000)) ] || fail "not every process ended in time: ${times#, }"
    sleep 0.05
  done
  pids=()
  echo "all ended with code $1: ${times#, }"
}

if [ "${1:-}" != --cut-off ]; then
  servers=10.77.1.1:7000,10.77.2.1:7000
  server server-0 "$east" 10.77.1.1:7000
  server server-1 "$west" 10.77.2.1:7000
  worker worker-0 "$east" 0
  worker worker-1 "$west" 1
  collect 0 60
  grep -qE '^finished at step 40:' "$SCRATCH/worker-1.log" || fail "worker-1 did not finish"
  run list 0 "$PAGODA" checkpoint list "$SCRATCH/worker-0-out"
  says list 'step 40 .*2 servers'
  echo "two servers and two workers over two network namespaces"
  exit 0
fi

endless=(--set train.steps_max=0 --set train.epochs=1000000 --set train.log_every_steps=5)
cut_off() {  # cut_off WHAT SERVER-1'S NAMESPACE WORKER-1'S NAMESPACE
  local what="$1" address name
  rm -rf "$SCRATCH"/server-* "$SCRATCH"/worker-*
  address=10.77.1.1:7001
  [ "$2" = "$east" ] || address=10.77.2.1:7001
  servers="10.77.1.1:7000,$address"
  server server-0 "$east" 10.77.1.1:7000
  server server-1 "$2" "$address"
  worker worker-0 "$east" 0 "${endless[@]}"
  worker worker-1 "$3" 1 "${endless[@]}"
  await 30 grep -qE '^step ' "$SCRATCH/worker-0.log" || { tail "$SCRATCH"/*.log; fail "$what: no training"; }
  ip -n "$router" link set "$west-p1" down
  printf '%s cut off: ' "$what"
  collect 1 20
  ip -n "$router" link set "$west-p1" up
  for name in server-0 server-1 worker-0 worker-1; do
    grep -E '^pagoda: error: ' "$SCRATCH/$name.log" > "$SCRATCH/cause" \
      || { tail -n 5 "$SCRATCH/$name.log"; fail "$what: $name gives no cause"; }
    grep -qE 'worker[ -]?[01]|rank [01]|10\.77\.[12]\.1:700[01]' "$SCRATCH/cause" \
      || { cat "$SCRATCH/cause"; fail "$what: $name names nobody"; }
    printf '  %-9s %s\n' "$name" "$(cut -c16-140 "$SCRATCH/cause")"
  done
}
cut_off "a namespace with a server and a worker" "$west" "$west"
cut_off "a server" "$west" "$east"
cut_off "a worker" "$east" "$west"
echo "three partitions: every process ended with a named cause"

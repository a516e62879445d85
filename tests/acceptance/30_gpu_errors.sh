#!/usr/bin/env bash
# A host dereference of device memory, an allocation over the budget, a launch error and a
# dead peer each end in words that name the kernel or the peer.
. "$(dirname "$0")/lib.sh"
build="build/emulated"
{ cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPAGODA_CUDA=EMULATED \
    -DPAGODA_GRPC=ON && ninja -C "$build" gpu_emulation_test pagoda; } > "$SCRATCH/build.log" 2>&1 \
  || { tail -n 30 "$SCRATCH/build.log"; exit 1; }
"$build/tests/kernels/gpu_emulation_test" "-#" "[#gpu_errors_test]" > "$SCRATCH/log" 2>&1 \
  || { cat "$SCRATCH/log"; not_met "kernels"; }
# A peer killed in the middle of a job on emulated GPUs.
"$ROOT/$build/deploy/pagoda" launch algorithms/deepfm/job.toml --servers 1 --workers 2 \
  --set train.device=emulated --set train.mode=sync --set train.epochs=1000 \
  --set job.output="$SCRATCH/job" > "$SCRATCH/launch" 2>&1 &
launcher=$!
victim=""
for _ in $(seq 300); do
  victim="$(pgrep -P "$launcher" -f -- 'worker.*--rank 1' | head -n 1 || true)"
  [ -n "$victim" ] && grep -qE 'step|samples/s' "$SCRATCH/launch" && break
  sleep 0.1
done
[ -n "$victim" ] || { tail -n 20 "$SCRATCH/launch"; not_met "no second worker"; }
sleep 2
kill -9 "$victim"
begin=$SECONDS
rc=0
wait "$launcher" || rc=$?
[ "$rc" -ne 0 ] || not_met "the launcher ended with 0"
[ $((SECONDS - begin)) -le 10 ] || not_met "$((SECONDS - begin)) s to end"
grep -q 'worker-1\|worker 1' "$SCRATCH/launch" || { tail -n 20 "$SCRATCH/launch"; not_met "the dead worker is not named"; }
echo "$(grep passed "$SCRATCH/log" | tail -n 1); a dead worker is named within $((SECONDS - begin)) s"

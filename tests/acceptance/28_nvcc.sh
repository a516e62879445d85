#!/usr/bin/env bash
# nvcc builds every kernel for sm_80, sm_90 and sm_100 with warnings as errors: no spills, at
# most 64 registers unless a comment says why, 16-byte loads and stores in the main loop of
# every kernel that is bound by memory.
#   CUDA_HOME (default /usr/local/cuda); CUOBJDUMP: the program, with nvdisasm on PATH
. "$(dirname "$0")/lib.sh"
[ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ] || command -v nvcc > /dev/null \
  || cannot_run "nvcc 12.8 or later (CUDA_HOME)"
cuobjdump="${CUOBJDUMP:-$(command -v cuobjdump || true)}"
[ -n "$cuobjdump" ] \
  || cannot_run "cuobjdump (CUDA toolkit, or PyPI nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm)"
python3 tests/kernels/gpu_report.py --cuobjdump "$cuobjdump" | tee "$SCRATCH/report" \
  || not_met "$(tail -n 1 "$SCRATCH/report")"
tail -n 1 "$SCRATCH/report"

#!/usr/bin/env bash
# MovieLens small: DeepFM, DCNv2 and DLRM against PyTorch from identical initial
# parameters and batch order: 200 losses within 1e-4 relative; mean test AUC of 5
# seeds >= PyTorch's - 0.003.
. "$(dirname "$0")/lib.sh"
need_python numpy torch sklearn
build pagoda export_job
"$PYTHON" tests/benchmarks/peers/movielens_parity.py --build build/release --scratch "$SCRATCH"

#!/usr/bin/env bash
# Samples per second of DeepFM, DCNv2 and DLRM on a generated Criteo-shaped log, embedded
# and 2+2 processes, and the same models in PyTorch in the same run. First goal: embedded
# at least 1.5 times PyTorch, f32 and bf16 each.
. "$(dirname "$0")/lib.sh"
need_python numpy torch
build pagoda train_throughput
"$PYTHON" tests/benchmarks/peers/criteo_throughput.py --build build/release --scratch "$SCRATCH" \
  --goal 1.5 --output runs/acceptance/throughput.md

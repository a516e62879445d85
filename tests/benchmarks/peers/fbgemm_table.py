#!/usr/bin/env python3
"""Rows a second of FBGEMM's CPU table (SplitTableBatchedEmbeddingBagsCodegen) for the work
that store_bench's section hot does: pull, pool and update.

  python3 -m venv .venv && .venv/bin/pip install torch==2.14.1 fbgemm-gpu-cpu==1.9.0 numpy
  .venv/bin/python tests/benchmarks/peers/fbgemm_table.py [--rows N] [--threads N]

The versions of torch and fbgemm-gpu-cpu must belong together. A pull is bags of one id; a
pool is bags of 16; an update is what backward costs beyond forward, with row-wise or exact
Adagrad. Medians of five. Rows of FBGEMM are found by their number, not by a 64-bit id:
there is no lookup in what it does.
"""
import argparse
import statistics
import time

import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
    ComputeDevice,
    SplitTableBatchedEmbeddingBagsCodegen,
)


def rate(rows, seconds, batch_of):
    rates = []
    number = 0
    for _ in range(5):
        begin = time.perf_counter()
        done = 0
        while time.perf_counter() - begin < seconds / 5:
            batch_of(number)
            number += 1
            done += rows
        rates.append(done / (time.perf_counter() - begin) / 1e6)
    return statistics.median(rates)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16384)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    print(f"FBGEMM's CPU table, {args.rows} rows of dim {args.dim}, batches of {args.batch}, "
          f"{args.threads} thread{'s' if args.threads > 1 else ''}\n")
    print("| | M rows/s |\n|---|---|")
    for name in ("EXACT_ADAGRAD", "EXACT_ROWWISE_ADAGRAD"):
        optimizer = getattr(EmbOptimType, name, None)
        if optimizer is None:
            continue
        try:
            table = SplitTableBatchedEmbeddingBagsCodegen(
                embedding_specs=[(args.rows, args.dim, EmbeddingLocation.HOST, ComputeDevice.CPU)],
                optimizer=optimizer, learning_rate=0.01)
            batches = [torch.randperm(args.rows)[:args.batch] for _ in range(16)]
            single = torch.arange(args.batch + 1)
            bags = torch.arange(0, args.batch + 1, 16)
            gradient = torch.rand(args.batch, args.dim) - 0.5

            def pull(i, offsets=single):
                with torch.no_grad():
                    return table(batches[i % 16], offsets)

            def both(i):
                table(batches[i % 16], single).backward(gradient)

            forward = rate(args.batch, args.seconds, pull)
            pooled = rate(args.batch, args.seconds, lambda i: pull(i, bags))
            whole = rate(args.batch, args.seconds, both)
        except (NotImplementedError, RuntimeError, AssertionError) as error:
            print(f"| {name.lower()} | refused: {str(error).splitlines()[0]} |")
            continue
        update = 1 / max(1e-9, 1 / whole - 1 / forward)
        label = name.lower().removeprefix("exact_")
        print(f"| pull | {forward:.2f} |")
        print(f"| pool, bags of 16 | {pooled:.2f} |")
        print(f"| pull and update, {label} | {whole:.2f} |")
        print(f"| update alone, {label} | {update:.2f} |")


if __name__ == "__main__":
    main()

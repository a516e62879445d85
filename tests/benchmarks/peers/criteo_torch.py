#!/usr/bin/env python3
"""Samples per second of DeepFM, DCNv2 and DLRM in PyTorch, on the batches that
train_throughput uses. criteo_throughput.py runs both; alone:

  .venv/bin/python tests/benchmarks/peers/criteo_torch.py DIRECTORY

DIRECTORY is what generate_criteo wrote. Embeddings have sparse gradients (one table of all
features, or with --tables each one nn.EmbeddingBag per feature) and torch.optim.Adagrad;
the towers have Adagrad in its fused form. The batches are tensors in memory before the
clock starts. Prints one JSON object a line: the median of the steps' samples/s, and the
10th and 90th percentile.
"""
import argparse
import json
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F

import models

DIM = 16
MODELS = {
    "deepfm": lambda: models.DeepFm(13, 26, DIM, [400, 400, 400]),
    "dcnv2": lambda: models.DcnV2(13, 26, DIM, [512, 256], 3),
    "dlrm": lambda: models.Dlrm(13, 26, DIM, [512, 256], [512, 256]),
}


class OneTable(torch.nn.Module):
    """All features' rows in one table, looked up by one F.embedding."""

    def __init__(self, num_ids, dim):
        super().__init__()
        self.rows = torch.nn.Embedding(int(num_ids.sum()), dim, sparse=True)
        torch.nn.init.normal_(self.rows.weight, std=0.01)

    def forward(self, ids):
        return self.rows(ids)


class TablePerFeature(torch.nn.Module):
    """One nn.EmbeddingBag per feature, each with single-valued bags."""

    def __init__(self, num_ids, dim):
        super().__init__()
        self.tables = torch.nn.ModuleList(
            torch.nn.EmbeddingBag(int(n), dim, mode="sum", sparse=True) for n in num_ids)
        for table in self.tables:
            torch.nn.init.normal_(table.weight, std=0.01)
        self.first = torch.from_numpy(np.concatenate([[0], np.cumsum(num_ids)[:-1]]))

    def forward(self, ids):
        local = ids - self.first
        bags = torch.arange(len(ids))
        return torch.stack([t(local[:, c], bags) for c, t in enumerate(self.tables)], 1)


def load_batches(directory, batch_size, count):
    ids = np.load(f"{directory}/ids.npy", mmap_mode="r")
    dense = np.load(f"{directory}/dense.npy", mmap_mode="r")
    labels = np.load(f"{directory}/labels.npy", mmap_mode="r")
    num_ids = np.load(f"{directory}/num_ids.npy")
    first = np.concatenate([[0], np.cumsum(num_ids)[:-1]])
    batches = []
    for b in range(min(count, len(labels) // batch_size)):
        part = slice(b * batch_size, (b + 1) * batch_size)
        batches.append((torch.from_numpy(ids[part] + first), torch.from_numpy(dense[part].copy()),
                        torch.from_numpy(labels[part].copy())))
    if not batches:
        raise SystemExit(f"{directory} holds less than one batch of {batch_size} samples")
    return num_ids, batches


def make_optimizers(embeddings, tower):
    sparse = torch.optim.Adagrad(embeddings.parameters(), lr=0.05)
    try:
        dense = torch.optim.Adagrad(tower.parameters(), lr=0.01, fused=True)
    except (TypeError, RuntimeError):  # Before PyTorch 2.5.
        dense = torch.optim.Adagrad(tower.parameters(), lr=0.01)
    return sparse, dense


def train(tower, embeddings, optimizers, batches, dtype):
    """Yields each step's seconds."""
    for ids, dense, labels in batches:
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16"):
            logits = tower(dense, embeddings(ids))
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        yield time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--batch_size", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--dtypes", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
    parser.add_argument("--tables", default="one", choices=["one", "each"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    torch.sparse.check_sparse_tensor_invariants.disable()
    num_ids, batches = load_batches(arguments.directory, arguments.batch_size,
                                    arguments.warmup + arguments.steps)
    for name in arguments.models:
        for dtype in arguments.dtypes:
            tower = MODELS[name]()
            table = OneTable if arguments.tables == "one" else TablePerFeature
            embeddings = table(num_ids, tower.row_dim)
            cpu_before = time.process_time()
            seconds = list(train(tower, embeddings, make_optimizers(embeddings, tower), batches,
                                 dtype))
            cpu = (time.process_time() - cpu_before) / len(seconds)
            seconds = seconds[arguments.warmup:]
            rates = sorted(arguments.batch_size / s for s in seconds)
            low, high = (rates[int(q * (len(rates) - 1))] for q in (0.1, 0.9))
            print(json.dumps({"model": name, "dtype": dtype, "tables": arguments.tables,
                              "threads": arguments.threads, "torch": torch.__version__,
                              "samples_per_second": round(statistics.median(rates)),
                              "p10": round(low), "p90": round(high),
                              "cpu_ms_per_step": round(1e3 * cpu, 1)}), flush=True)


if __name__ == "__main__":
    main()

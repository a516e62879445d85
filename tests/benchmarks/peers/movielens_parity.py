#!/usr/bin/env python3
"""DeepFM, DCNv2 and DLRM on MovieLens small: Pagoda against PyTorch.

  python3 -m venv .venv && .venv/bin/pip install -r tests/benchmarks/peers/requirements.txt
  .venv/bin/python tests/benchmarks/peers/movielens_parity.py --build build/release --scratch /tmp

For each model:
  1. Pagoda trains (export_job) and writes its initial values, batches and losses. PyTorch
     starts from the same values, sees the same batches, and must report the same first
     200 losses within 1e-4 relative (f32, no dropout).
  2. Both train on the same batches, PyTorch from initial values of its own, 5 seeds. The
     mean test AUC of Pagoda must be at least PyTorch's less 0.003.
Prints a table; exits 0 when both hold for every model, else 1.
"""
import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

import models

HERE = pathlib.Path(__file__).resolve().parent
DIM = 16
LOSSES = 200
LOSS_TOLERANCE = 1e-4
AUC_MARGIN = 0.003

# Model options of the job, and the same model in PyTorch.
MODELS = {
    "deepfm": (["model.hidden=[64,32]"], lambda d, f: models.DeepFm(d, f, DIM, [64, 32])),
    "dcnv2": (["model.hidden=[64,32]", "model.cross_layers=2"],
              lambda d, f: models.DcnV2(d, f, DIM, [64, 32], 2)),
    "dlrm": (["model.hidden=[64,32]", "model.bottom_hidden=[32]"],
             lambda d, f: models.Dlrm(d, f, DIM, [32], [64, 32])),
}


class Export:
    """What export_job wrote."""

    def __init__(self, directory):
        self.directory = directory
        self.job = json.loads((directory / "job.json").read_text())

    def load(self, name):
        return np.load(self.directory / f"{name}.npy")


class Rows(torch.nn.Module):
    """The tables; ids become positions among the ids that the export holds."""

    def __init__(self, export):
        super().__init__()
        self.tables = torch.nn.ParameterDict()
        self.ids = {}
        for name, _ in export.job["tables"]:
            self.ids[name] = export.load(f"rows.{name}.ids")
            self.tables[name] = torch.nn.Parameter(
                torch.from_numpy(export.load(f"rows.{name}.values")))

    def reset(self, stddev, zero_columns):
        for values in self.tables.values():
            torch.nn.init.normal_(values, std=stddev)
            values.data[:, :zero_columns] = 0.0

    def forward(self, batch):  # -> [n, features, row_dim]
        return torch.stack([
            F.embedding_bag(positions, self.tables[table], offsets, mode=mode, sparse=True)
            for positions, offsets, table, mode in batch], 1)


class Samples:
    """The samples of train.* or test.*, cut into batches."""

    def __init__(self, export, kind, rows):
        self.dense = torch.from_numpy(export.load(f"{kind}.dense"))
        self.labels = torch.from_numpy(export.load(f"{kind}.labels"))
        self.features = []
        for name, table, pooling in export.job["features"]:
            positions = np.searchsorted(rows.ids[table], export.load(f"{kind}.{name}.ids"))
            offsets = export.load(f"{kind}.{name}.offsets")
            self.features.append((torch.from_numpy(positions), offsets, table, pooling))
        self.ends = np.cumsum(export.load(f"{kind}.sizes"))

    def batch(self, begin, end):
        bags = []
        for positions, offsets, table, pooling in self.features:
            first, last = offsets[begin], offsets[end]
            bags.append((positions[first:last], torch.from_numpy(offsets[begin:end] - first),
                         table, pooling))
        return self.dense[begin:end], bags, self.labels[begin:end]

    def batches(self):
        begin = 0
        for end in self.ends:
            yield self.batch(begin, int(end))
            begin = int(end)


def train(tower, rows, samples, steps=None):
    """Returns the losses of the steps."""
    sparse = torch.optim.Adagrad(rows.parameters(), lr=0.05, initial_accumulator_value=0.1)
    dense = torch.optim.Adam(tower.parameters(), lr=0.001, eps=1e-4)
    losses = []
    for step, (numbers, bags, labels) in enumerate(samples.batches()):
        if step == steps:
            break
        loss = F.binary_cross_entropy_with_logits(tower(numbers, rows(bags)), labels)
        sparse.zero_grad()
        dense.zero_grad()
        loss.backward()
        sparse.step()
        dense.step()
        losses.append(loss.item())
    return np.array(losses)


def start_from(tower, export):
    """Copies the exported initial parameters; every parameter must have its partner."""
    names = {name.replace(".", "__"): name for name, _ in export.job["parameters"]}
    if set(names) != set(tower.dense):
        raise SystemExit(f"parameters differ: {set(names) ^ set(tower.dense)}")
    for key, parameter in tower.dense.items():
        value = torch.from_numpy(export.load(f"initial.{names[key]}"))
        if value.shape != parameter.shape:
            raise SystemExit(f"{names[key]} has shape {tuple(value.shape)}, "
                             f"PyTorch's {tuple(parameter.shape)}")
        parameter.data.copy_(value)


def test_auc(tower, rows, samples):
    with torch.no_grad():
        dense, bags, labels = samples.batch(0, len(samples.labels))
        return roc_auc_score(labels, tower(dense, rows(bags)))


def export_with_pagoda(arguments, name, seed):
    directory = pathlib.Path(arguments.scratch) / f"parity-{name}-{seed}"
    directory.mkdir(parents=True)
    tool = pathlib.Path(arguments.build) / "tests/benchmarks/export_job"
    subprocess.run([tool, HERE / "movielens_parity.toml", directory, f"model.name={name}",
                    *MODELS[name][0], f"job.seed={seed}", f"job.output={directory}/run"],
                   check=True, stdout=None if arguments.verbose else subprocess.DEVNULL)
    return Export(directory)


def compare(arguments, name, seed):
    """Returns (largest relative difference of the losses, Pagoda's AUC, PyTorch's AUC)."""
    export = export_with_pagoda(arguments, name, seed)
    rows = Rows(export)
    samples, test = Samples(export, "train", rows), Samples(export, "test", rows)
    make = MODELS[name][1]
    shape = samples.dense.shape[1], len(samples.features)

    tower = make(*shape)
    start_from(tower, export)
    ours = export.load("losses")[:LOSSES]
    theirs = train(tower, rows, samples, LOSSES)
    difference = np.max(np.abs(ours - theirs) / np.abs(theirs))

    torch.manual_seed(seed)
    tower = make(*shape)
    rows.reset(stddev=0.01, zero_columns=1 if name == "deepfm" else 0)
    train(tower, rows, samples)
    pagoda_auc = roc_auc_score(test.labels, export.load("test.scores"))
    return difference, pagoda_auc, test_auc(tower, rows, test)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="build directory with export_job")
    parser.add_argument("--scratch", required=True, help="existing directory for the exports")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--verbose", action="store_true", help="with export_job's log")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # The models are small: threads only wait for each other.
    torch.sparse.check_sparse_tensor_invariants.disable()
    met = True
    print(f"| model | largest relative difference of {LOSSES} losses | test AUC Pagoda | "
          "PyTorch | difference |\n|---|---|---|---|---|")
    for name in arguments.models:
        results = [compare(arguments, name, seed) for seed in range(1, arguments.seeds + 1)]
        difference = max(r[0] for r in results)
        ours, theirs = (np.mean([r[k] for r in results]) for k in (1, 2))
        ok = difference <= LOSS_TOLERANCE and ours >= theirs - AUC_MARGIN
        met = met and ok
        print(f"| {name} | {difference:.2e} | {ours:.5f} | {theirs:.5f} | {ours - theirs:+.5f} |"
              f"{'' if ok else ' NOT MET'}", flush=True)
    print(f"losses within {LOSS_TOLERANCE:g} and AUC not below PyTorch's - {AUC_MARGIN}: "
          f"{'met' if met else 'NOT MET'}")
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Samples per second of DeepFM, DCNv2 and DLRM, Pagoda against PyTorch, on one machine in
one run. What is measured and how: docs/benchmarks.md.

  python3 -m venv .venv && .venv/bin/pip install -r tests/benchmarks/peers/requirements.txt
  ninja -C build/release pagoda train_throughput generate_criteo
  .venv/bin/python tests/benchmarks/peers/criteo_throughput.py --build build/release \\
      --scratch /tmp --goal 1.5 --output throughput.md

Per model and type, `--rounds` times in turn, so that a slow minute of the machine hits
both: Pagoda embedded (train_throughput), PyTorch (criteo_torch.py). Then once each:
Pagoda's other durabilities and modes, two servers and two workers (`pagoda launch`), and
one process reading the text file (`pagoda train`). Prints the tables and writes them to
--output; exits 1 when Pagoda embedded (sync, durability process) is below --goal times
PyTorch for any model and type.
"""
import argparse
import json
import pathlib
import platform
import re
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
MODELS = {
    "deepfm": ["model.hidden=[400,400,400]"],
    "dcnv2": ["model.hidden=[512,256]", "model.cross_layers=3"],
    "dlrm": ["model.hidden=[512,256]", "model.bottom_hidden=[512,256]"],
}
DTYPES = ["f32", "bf16"]


def run_lines(command):
    """Runs it and returns the JSON objects it printed."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"failed ({done.returncode}): {' '.join(map(str, command))}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


class Race:
    def __init__(self, arguments):
        self.arguments = arguments
        self.build = pathlib.Path(arguments.build)
        self.data = pathlib.Path(arguments.data or f"{arguments.scratch}/criteo")
        self.report = []

    def say(self, line=""):
        print(line, flush=True)
        self.report.append(line)

    def generate(self):
        if (self.data / "log.tsv").exists():
            return
        self.data.mkdir(parents=True, exist_ok=True)
        samples = self.arguments.batches * 4096
        subprocess.run([self.build / "tests/benchmarks/generate_criteo", self.data, "--samples",
                        str(samples), "--ids", str(self.arguments.ids), "--tsv"], check=True)

    def pagoda(self, model, dtype, durability="process", mode="sync"):
        return run_lines([self.build / "tests/benchmarks/train_throughput", self.data,
                          "--models", model, "--dtypes", dtype, "--durability", durability,
                          "--modes", mode, "--batches", self.arguments.batches,
                          "--threads", self.arguments.threads,
                          "--scratch", self.arguments.scratch])[0]

    def torch(self, model, dtype, tables="one"):
        steps = min(self.arguments.torch_steps, self.arguments.batches - 5)
        return run_lines([sys.executable, HERE / "criteo_torch.py", self.data, "--models", model,
                          "--dtypes", dtype, "--tables", tables, "--warmup", 5, "--steps", steps,
                          "--threads", self.arguments.threads])[0]

    def command(self, words, model, dtype, name):
        """A pagoda command on the text file; returns samples/s over all workers."""
        output = pathlib.Path(self.arguments.scratch) / f"{name}-{model}-{dtype}"
        sets = [f"data.files={self.data}/log.tsv", f"model.name={model}", *MODELS[model],
                f"train.dtype={dtype}", f"train.threads={self.arguments.threads}",
                f"job.output={output}"]
        command = [self.build / "deploy/pagoda", words[0], HERE.parent / "criteo.toml", *words[1:]]
        for assignment in sets:
            command += ["--set", assignment]
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        rates = re.findall(r"finished at step .*\((\d+) samples/s\)", done.stdout)
        subprocess.run(["rm", "-rf", str(output)], check=True)
        if done.returncode != 0 or not rates:
            sys.exit(f"failed ({done.returncode}): {' '.join(map(str, command))}\n{done.stdout}")
        return int(rates[0])

    def compare(self):
        """The table of the goal; returns whether it is met."""
        self.say("| model | type | Pagoda samples/s | PyTorch samples/s | ratio |")
        self.say("|---|---|---|---|---|")
        met = True
        stages = []
        for model in self.arguments.models:
            for dtype in DTYPES:
                ours, theirs = [], []
                for _ in range(self.arguments.rounds):
                    ours.append(self.pagoda(model, dtype))
                    theirs.append(self.torch(model, dtype))
                stages.append(ours[-1])
                rate, peer = (statistics.median(r["samples_per_second"] for r in side)
                              for side in (ours, theirs))
                met = met and rate >= self.arguments.goal * peer
                self.say(f"| {model} | {dtype} | {self.spread(ours)} | {self.spread(theirs)} | "
                         f"{rate / peer:.2f} |")
        self.say()
        self.show_stages(stages)
        return met

    @staticmethod
    def spread(runs):
        rates = [r["samples_per_second"] for r in runs]
        return f"{statistics.median(rates):.0f} ({min(rates)} to {max(rates)})"

    def show_stages(self, runs):
        self.say("Milliseconds per step and stage; read and prepare run beside the others:")
        self.say()
        names = list(runs[0]["ms_per_step"])
        self.say(f"| model | type | {' | '.join(names)} |")
        self.say("|---" * (2 + len(names)) + "|")
        for run in runs:
            times = " | ".join(f"{run['ms_per_step'][name]:.1f}" for name in names)
            self.say(f"| {run['model']} | {run['dtype']} | {times} |")
        self.say()

    def others(self):
        self.say("Other ways to run, samples/s, one run each (f32 unless said):")
        self.say()
        rows = [
            ("embedded, durability none, sync", lambda m: self.rate(self.pagoda(m, "f32", "none"))),
            ("embedded, durability process, async",
             lambda m: self.rate(self.pagoda(m, "f32", "process", "async"))),
            ("embedded, durability none, async",
             lambda m: self.rate(self.pagoda(m, "f32", "none", "async"))),
            ("PyTorch, a table per feature", lambda m: self.rate(self.torch(m, "f32", "each"))),
            ("from the text file: pagoda train",
             lambda m: self.command(["train"], m, "f32", "train")),
            ("from the text file: 2 servers + 2 workers",
             lambda m: self.command(["launch", "--servers", "2", "--workers", "2"], m, "f32",
                                    "launch")),
            ("the same, bf16",
             lambda m: self.command(["launch", "--servers", "2", "--workers", "2"], m, "bf16",
                                    "launch")),
        ]
        self.say(f"| | {' | '.join(self.arguments.models)} |")
        self.say("|---" * (1 + len(self.arguments.models)) + "|")
        for name, measure in rows:
            rates = " | ".join(str(measure(model)) for model in self.arguments.models)
            self.say(f"| {name} | {rates} |")
        self.say()

    @staticmethod
    def rate(run):
        return run["samples_per_second"]


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="build directory")
    parser.add_argument("--scratch", required=True, help="existing directory for stores and data")
    parser.add_argument("--data", help="directory with a generated log; made when missing")
    parser.add_argument("--output", help="file for the tables (Markdown)")
    parser.add_argument("--goal", type=float, default=1.5)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--batches", type=int, default=60, help="of 4096 samples")
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--torch_steps", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only_goal", action="store_true", help="leave the other ways out")
    arguments = parser.parse_args()
    race = Race(arguments)
    race.generate()
    race.say(f"{processor()}, {arguments.threads} threads, batch 4096, dim 16, "
             f"{arguments.ids} ids, {arguments.batches} batches; median (lowest to highest) of "
             f"{arguments.rounds} runs.")
    race.say()
    met = race.compare()
    if not arguments.only_goal:
        race.others()
    race.say(f"goal of {arguments.goal} times PyTorch, embedded, f32 and bf16 each: "
             f"{'met' if met else 'NOT MET'}")
    if arguments.output:
        output = pathlib.Path(arguments.output)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("\n".join(race.report) + "\n")
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()

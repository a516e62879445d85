#!/usr/bin/env python3
"""Compiles every GPU kernel for sm_80, sm_90 and sm_100 with warnings as errors, and checks
what came out: no spills, at most 64 registers unless a comment `// registers: ...` above the
kernel says why, and 16-byte loads and stores in the main loop of every kernel that is bound
by memory.

  tests/kernels/gpu_report.py                      checks, prints a table
  tests/kernels/gpu_report.py --docs               writes the table into docs/kernels.md, too
  tests/kernels/gpu_report.py --cuobjdump PROGRAM  also looks at the machine code

nvcc comes from --nvcc, CUDA_HOME or PATH; cuobjdump is in the CUDA toolkit and, with the
nvdisasm that it calls, in the PyPI packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm.
Exits 1 when a check fails, 77 without nvcc.
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels"
DOCS = ROOT / "docs/kernels.md"
ARCHITECTURES = ("80", "90", "100")
REGISTERS_MAX = 64
H100_BYTES_PER_SECOND = 3.35e12

# Kernels whose threads do not walk along memory: no 16-byte accesses are asked of them.
NOT_WIDE = {
    "FinishKernel": "a partial sum for each 256 rows",
    "AddPiecesKernel": "a partial sum for each 16,384 elements",
    "AddAllPiecesKernel": "a partial sum for each 16,384 elements",
    "CountStepKernel": "one number",
    "InverseStdKernel": "one number a column",
    "EstimateKernel": "buckets anywhere, a few thousand of them",
    "WriteKernel": "buckets anywhere, a few thousand of them",
    "ClearKernel": "UniqueIds: its table, against the random accesses to it",
    "InsertKernel": "slots of a hash table, anywhere",
    "CountKernel": "slots of a hash table, anywhere",
    "OffsetsKernel": "a number for each 256 ids",
    "NumberKernel": "slots of a hash table, anywhere",
    "InverseKernel": "slots of a hash table, anywhere",
    "PositiveLogitsKernel": "one number a sample",
    "PositiveSlopesKernel": "one number a sample",
}

# Kernels that read packs and write little: no 16-byte stores are asked of them.
LOADS_ONLY = {
    "PiecesKernel": "a sum for each 256 rows",
    "MeasureKernel": "two numbers for each 16,384",
    "SumAllPiecesKernel": "one number for each 16,384",
    "RowSumsKernel": "one number a row",
    "FmForwardKernel": "one number a sample",
    "DotForwardKernel": "one pair a thread, side by side",
    "AveragePoolKernel": "one number a window",
    "NegativeLogitsKernel": "rows of logits are one longer than those of scores",
}
# And those that read little and write packs.
STORES_ONLY = {
    "FillKernel": "reads nothing, or adds to what it writes",
    "SpreadPoolKernel": "reads a number a window",
    "NegativeSlopesKernel": "rows of logits are one longer than those of scores",
}

# What an operator moves at a shape like that of a batch: (name, shape, bytes). f32, every
# operand once; ids are int32.
N, F, D, NNZ, UNIQUE, WIDTH = 65536, 26, 128, 65536 * 26, 500000, 512
ROOFLINES = [
    ("EmbeddingBagForward", f"{N} x {F} ids of dim {D}", NNZ * (4 * D + 8) + NNZ * 4 * D),
    ("EmbeddingBagBackward", f"the same, {UNIQUE} rows", NNZ * (4 * D + 8) + UNIQUE * 4 * D),
    ("GatherRows", f"{NNZ} of dim {D}", NNZ * (8 * D + 4)),
    ("CopyIndexedRows", f"{UNIQUE} of dim {D}", UNIQUE * (8 * D + 4)),
    ("UniqueIds", f"{NNZ} ids (random accesses of 4 bytes count 32)", NNZ * (8 + 4 * 32 + 12)),
    ("SegmentSum", f"{NNZ} rows of dim {D} into {N}", NNZ * 4 * D + N * 4 * D),
    ("DotInteractionForward", f"{N} x {F + 1} x {D}", N * ((F + 1) * 4 * D + (F + 1) * F * 2)),
    ("DotInteractionBackward", f"{N} x {F + 1} x {D}",
     N * ((F + 1) * 8 * D + (F + 1) * F * 2)),
    ("FmForward", f"{N} x {F} x 16", N * (F * 16 * 4 + 4)),
    ("FmBackward", f"{N} x {F} x 16", N * (F * 16 * 8 + 4)),
    ("CrossV2Forward", f"{N} x {WIDTH}", 16 * N * WIDTH),
    ("CrossV2Backward", f"{N} x {WIDTH}, all three gradients", 24 * N * WIDTH),
    ("BiasActivation (LinearForward)", f"{N} x {WIDTH}", 8 * N * WIDTH),
    ("Slope (LinearBackward)", f"{N} x {WIDTH}", 12 * N * WIDTH),
    ("BatchNormTrain", f"{N} x {WIDTH}", 16 * N * WIDTH),
    ("BatchNormBackward", f"{N} x {WIDTH}", 24 * N * WIDTH),
    ("LayerNormForward", f"{N} x {WIDTH}", 8 * N * WIDTH),
    ("LayerNormBackward", f"{N} x {WIDTH}", 24 * N * WIDTH),
    ("RmsNormForward", f"{N} x {WIDTH}", 8 * N * WIDTH),
    ("RmsNormBackward", f"{N} x {WIDTH}", 24 * N * WIDTH),
    ("RotaryEmbedding", f"{N} x {WIDTH}", 8 * N * WIDTH),
    ("DropoutForward", f"{N} x {WIDTH}", 8 * N * WIDTH),
    ("DropoutRows", f"{N} x {WIDTH}", 8 * N * WIDTH),
    ("SoftmaxForward", "8192 x 8192", 8 * 8192 * 8192),
    ("SoftmaxCrossEntropyBackward", "8192 x 8192", 12 * 8192 * 8192),
    ("Adagrad (dense optimizer)", "2^24 parameters", 20 << 24),
    ("Adam (dense optimizer)", "2^24 parameters", 28 << 24),
    ("GradientNorm", "2^24 parameters", 4 << 24),
]


def nvcc_of(arguments):
    if arguments.nvcc:
        return arguments.nvcc
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which("nvcc") or shutil.which(f"{home}/bin/nvcc")


def demangled(names):
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True,
                          check=True)
    return dict(zip(names, done.stdout.splitlines()))


def short(signature):
    """MapKernel<3, pagoda::(anonymous namespace)::Sum>(...) -> MapKernel, and its arguments."""
    bare = re.sub(r"^void ", "", signature).replace("(anonymous namespace)::", "")
    bare = re.sub(r"\b(pagoda|gpu_map|gpu_row_sum|gpu_column_sum)::", "", bare)
    match = re.match(r"([\w:]+)(?:<(.*?)>)?\(", bare)
    name = match.group(1).split("::")[-1]
    return name, re.sub(r"\((?:int|pagoda::\w+|\w+)\)", "", match.group(2) or "")


class Kernel:
    def __init__(self, source, signature):
        self.source, self.signature = source, signature
        self.name, self.template = short(signature)
        self.registers, self.spilled = {}, {}
        self.wide_loads, self.wide_stores = {}, {}

    def packed(self):
        """Compiled for packs of four, or for element-wise groups of four."""
        return self.template.startswith("4") or self.template.endswith(", 4") or \
            self.name in ("MapKernel", "ToBF16Kernel")


def compiled(nvcc, source, directory):
    made = directory / f"{source.stem}.o"
    command = [nvcc, "-std=c++20", "-O3", "-c", str(source), "-o", str(made), f"-I{ROOT}",
               "-DPAGODA_GPU", "-Werror=all-warnings", "-Xptxas=-v", "-Xcompiler=-Wall"]
    for architecture in ARCHITECTURES:
        command += ["-gencode", f"arch=compute_{architecture},code=sm_{architecture}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{source.name} does not compile:\n{done.stderr}")
    return made, done.stderr


def read_ptxas(source, text, kernels):
    entry = None
    for line in text.splitlines():
        begin = re.search(r"Compiling entry function '(\S+)' for 'sm_(\d+)'", line)
        if begin:
            key = (source.name, begin.group(1))
            entry, architecture = kernels.setdefault(key, {}), begin.group(2)
            continue
        if entry is None:
            continue
        spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)
        if spills:
            entry.setdefault("spilled", {})[architecture] = sum(map(int, spills.groups()))
        used = re.search(r"Used (\d+) registers", line)
        if used:
            entry.setdefault("registers", {})[architecture] = int(used.group(1))


def loops_with(code, pattern):
    """Whether an instruction of `pattern` lies between a branch back and its target."""
    spans = []
    for address, text in code:
        jump = re.search(r"\bBRA\S*\s+(?:\S+,\s*)?`?\(?(?:\.L_x_\d+)?\)?.*?0x([0-9a-f]+)", text)
        if jump and int(jump.group(1), 16) < address:
            spans.append((int(jump.group(1), 16), address))
    return any(begin <= address <= end for address, text in code if re.search(pattern, text)
               for begin, end in spans)


def read_sass(cuobjdump, made, architecture):
    """Mangled name -> (loads 16 bytes in a loop, stores 16 bytes in a loop)."""
    done = subprocess.run([cuobjdump, "-sass", "-arch", f"sm_{architecture}", str(made)],
                          capture_output=True, text=True, check=True)
    found, name, code = {}, None, []

    def finish():
        if name is not None:
            found[name] = (loops_with(code, r"\bLDG\S*\.128"), loops_with(code, r"\bSTG\S*\.128"))

    for line in done.stdout.splitlines():
        function = re.search(r"Function : (\S+)", line)
        if function:
            finish()
            name, code = function.group(1), []
            continue
        instruction = re.search(r"/\*([0-9a-f]{4,})\*/\s+(.*?);", line)
        if instruction:
            code.append((int(instruction.group(1), 16), instruction.group(2)))
    finish()
    return found


def excused(kernel):
    """A comment above the kernel says why it has more registers."""
    for path in [kernel.source] + sorted(KERNELS.glob("gpu_*.h")):
        if re.search(r"// registers: [^\n]+\n(?:[^\n]*\n){0,4}?[^\n]*\b" + kernel.name + r"\(",
                     path.read_text()):
            return True
    return False


def check(kernels, looked):
    problems = []
    for kernel in kernels:
        where = f"{kernel.source.name}: {kernel.name}<{kernel.template}>"
        for architecture in ARCHITECTURES:
            if kernel.spilled.get(architecture, 0) > 0:
                problems.append(f"{where}: {kernel.spilled[architecture]} bytes of spills, "
                                f"sm_{architecture}")
            if kernel.registers.get(architecture, 0) > REGISTERS_MAX and not excused(kernel):
                problems.append(f"{where}: {kernel.registers[architecture]} registers, "
                                f"sm_{architecture}")
            if not looked or kernel.name in NOT_WIDE or not kernel.packed():
                continue
            if not kernel.wide_loads.get(architecture) and kernel.name not in STORES_ONLY:
                problems.append(f"{where}: no 16-byte loads in a loop, sm_{architecture}")
            if not kernel.wide_stores.get(architecture) and kernel.name not in LOADS_ONLY:
                problems.append(f"{where}: no 16-byte stores in a loop, sm_{architecture}")
    # Every kernel that moves memory has a version for packs.
    by_name = collections.defaultdict(list)
    for kernel in kernels:
        by_name[(kernel.source.name, kernel.name)].append(kernel)
    for (source, name), versions in sorted(by_name.items()):
        if name not in NOT_WIDE and not any(k.packed() for k in versions):
            problems.append(f"{source}: {name} has no version for 16-byte accesses")
    return problems


def table(kernels):
    lines = ["| file | kernel | versions | registers sm_80 / 90 / 100 | spills | 16-byte loop |",
             "|---|---|---|---|---|---|"]
    groups = collections.defaultdict(list)
    for kernel in kernels:
        groups[(kernel.source.name, kernel.name)].append(kernel)
    for (source, name), versions in sorted(groups.items()):
        most = " / ".join(str(max(k.registers.get(a, 0) for k in versions)) for a in ARCHITECTURES)
        spills = max((s for k in versions for s in k.spilled.values()), default=0)
        packed = [k for k in versions if k.packed()]
        wide = "-"
        if packed and any(k.wide_loads for k in packed):
            loads = all(k.wide_loads.get(a) for k in packed for a in ARCHITECTURES)
            stores = all(k.wide_stores.get(a) for k in packed for a in ARCHITECTURES)
            wide = " and ".join([w for w, yes in (("loads", loads), ("stores", stores)) if yes]) \
                or "no"
        reasons = {**NOT_WIDE, **LOADS_ONLY, **STORES_ONLY}
        if name in reasons:
            wide += f": {reasons[name]}"
        lines.append(f"| {source} | {name} | {len(versions)} | {most} | {spills} | {wide} |")
    return lines


def rooflines():
    lines = ["| operator | shape | MB | H100, *predicted, not yet measured* |", "|---|---|---|---|"]
    for name, shape, size in ROOFLINES:
        lines.append(f"| {name} | {shape} | {size / 1e6:.0f} | "
                     f"{1e6 * size / H100_BYTES_PER_SECOND:.0f} us |")
    return lines


def heads():
    """What each file says of itself: the comment at its top."""
    lines = ["| file | threads, data and bytes |", "|---|---|"]
    for source in sorted(KERNELS.glob("*.cu")):
        words = []
        for line in source.read_text().splitlines():
            if not line.startswith("//"):
                break
            words.append(line[2:].strip())
        lines.append(f"| [{source.name}](../kernels/{source.name}) | {' '.join(words)} |")
    return lines


def write_docs(sections):
    text = DOCS.read_text()
    for name, lines in sections.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        first, last = text.index(begin) + len(begin), text.index(end)
        text = text[:first] + "\n" + "\n".join(lines) + "\n" + text[last:]
    DOCS.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nvcc")
    parser.add_argument("--cuobjdump")
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--only", default="", help="of files whose name has this in it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    nvcc = nvcc_of(arguments)
    if nvcc is None:
        print("no nvcc: set CUDA_HOME, or give --nvcc")
        return 77
    sources = [s for s in sorted(KERNELS.glob("*.cu")) if arguments.only in s.name]
    raw = {}
    with tempfile.TemporaryDirectory(prefix="pagoda-nvcc-") as scratch, \
            concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        built = list(pool.map(lambda s: (s, *compiled(nvcc, s, pathlib.Path(scratch))), sources))
        for source, made, text in built:
            read_ptxas(source, text, raw)
            for architecture in ARCHITECTURES if arguments.cuobjdump else ():
                for name, (loads, stores) in read_sass(arguments.cuobjdump, made,
                                                       architecture).items():
                    entry = raw[(source.name, name)]
                    entry.setdefault("loads", {})[architecture] = loads
                    entry.setdefault("stores", {})[architecture] = stores
    names = demangled(sorted({name for _, name in raw}))
    kernels = []
    for (file_name, name), entry in sorted(raw.items()):
        kernel = Kernel(KERNELS / file_name, names[name])
        kernel.registers, kernel.spilled = entry.get("registers", {}), entry.get("spilled", {})
        kernel.wide_loads, kernel.wide_stores = entry.get("loads", {}), entry.get("stores", {})
        kernels.append(kernel)
    lines = table(kernels)
    print("\n".join(lines))
    if arguments.docs:
        write_docs({"kernels": lines, "rooflines": rooflines(), "files": heads()})
    problems = check(kernels, arguments.cuobjdump is not None)
    for problem in problems:
        print(problem)
    print(f"{len(kernels)} kernels in {len(sources)} files for sm_{', sm_'.join(ARCHITECTURES)}: "
          f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

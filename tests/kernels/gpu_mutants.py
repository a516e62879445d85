#!/usr/bin/env python3
"""Breaks the GPU kernels one place at a time, and counts how often the tests notice.

  tests/kernels/gpu_mutants.py --builds build/emulated build/emulated-address build/emulated-thread
  tests/kernels/gpu_mutants.py --builds ... --draw 10 --seed "$(git rev-parse HEAD)"
  tests/kernels/gpu_mutants.py --list

A mutant has one synchronisation removed, or one bound of an index loosened: `<` becomes
`<=`, `>=` becomes `>`, min(a, b) becomes a. It is compiled on its own, linked in front of
the kernels' library into the tests that cover it, and run: first plain, in four schedules,
then under AddressSanitizer + UBSan, then under ThreadSanitizer, until one fails. A mutant
that nothing catches must stand in gpu_survivors.txt with a reason. Exits 1 when one does not,
or when fewer than 95 % are caught.

The builds are CMake trees with PAGODA_CUDA=EMULATED whose tests have been built; their
order is the order of the runs.
"""
import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels"
SURVIVORS = pathlib.Path(__file__).resolve().with_name("gpu_survivors.txt")
# What covers a file that has no test of its own name.
TESTS_OF = {"gpu_convert": ["linear_test", "matmul_test"]}
LEAST_SHARE = 0.95
TIMEOUT_SECONDS = 90  # A mutant that runs on for ever is caught.


@dataclasses.dataclass(frozen=True)
class Mutant:
    path: pathlib.Path
    begin: int  # Of what is replaced, in the file's text.
    end: int
    new: str
    what: str

    def line_number(self, text):
        return text.count("\n", 0, self.begin) + 1

    def name(self):
        text = self.path.read_text()
        start = text.rfind("\n", 0, self.begin) + 1
        line = text[start:text.find("\n", self.begin)].strip()
        return f"{self.path.relative_to(ROOT)} | {line} | {self.what}"

    def text(self):
        text = self.path.read_text()
        return text[:self.begin] + self.new + text[self.end:]


def closing(text, at, pair):
    """The place after the bracket that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += {pair[0]: 1, pair[1]: -1}.get(text[i], 0)
        if depth == 0:
            return i + 1
    return len(text)


def without_comments(text):
    """As long as `text`, with blanks in place of comments and strings."""
    return re.sub(r"//[^\n]*|\"[^\"\n]*\"", lambda m: " " * len(m.group()), text)


def device_bodies(text):
    """[begin, end) of the bodies of __device__ and __global__ functions."""
    bodies = []
    for mark in re.finditer(r"__(?:device|global)__", text):
        if bodies and mark.start() < bodies[-1][1]:
            continue
        at = mark.end()
        while at < len(text) and text[at] not in "{;":
            at = closing(text, at, "()") if text[at] == "(" else at + 1
        if at < len(text) and text[at] == "{":
            bodies.append((at, closing(text, at, "{}")))
    return bodies


def conditions(body):
    """[begin, end) of what `if` and `while` ask, and `for` between its semicolons."""
    for mark in re.finditer(r"\b(if|while|for)\b(?:\s+constexpr)?\s*\(", body):
        begin, end = mark.end(), closing(body, mark.end() - 1, "()") - 1
        if mark.group(1) == "for":
            first = body.find(";", begin, end)
            second = body.find(";", first + 1, end)
            if first < 0 or second < 0:
                continue
            begin, end = first + 1, second
        yield begin, end


LOOSER = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
COMPARISON = re.compile(r"(?<![<>\-=])(<=|>=|<|>)(?![<>=])")


def mutants_of(path):
    text = path.read_text()
    code = without_comments(text)
    for begin, end in device_bodies(code):
        body = code[begin:end]
        for sync in re.finditer(r"__sync(?:threads|warp)\([^()]*\);", body):
            yield Mutant(path, begin + sync.start(), begin + sync.end(), ";",
                         f"{sync.group()} removed")
        for first, last in conditions(body):
            for sign in COMPARISON.finditer(body, first, last):
                around = body[max(first, sign.start() - 24):min(last, sign.end() + 24)]
                # Not an index: a comparison of values, or a template's argument list.
                if re.search(r"\d\.\d*f", around) or re.search(r"\w<\w+>", around):
                    continue
                new = LOOSER[sign.group()]
                yield Mutant(path, begin + sign.start(), begin + sign.end(), new,
                             f"{sign.group()} to {new}")
        # min(a, b), and the same spelled a < b ? a : b.
        for least in re.finditer(r"\bmin\(", body):
            last = closing(body, least.end() - 1, "()")
            inside = body[least.end():last - 1]
            depth, comma = 0, None
            for i, letter in enumerate(inside):
                depth += {"(": 1, ")": -1}.get(letter, 0)
                if letter == "," and depth == 0:
                    comma = i
            yield Mutant(path, begin + least.start(), begin + last, f"({inside[:comma]})",
                         "bound removed")
        for least in re.finditer(r"([\w .+*]+?) < (\w+) \? \1 : \2", body):
            yield Mutant(path, begin + least.start(), begin + least.end(), least.group(1),
                         "bound removed")


def all_mutants():
    paths = sorted(KERNELS.glob("*.cu")) + sorted(
        p for p in KERNELS.glob("gpu_*.h") if "__device__" in p.read_text())
    mutants, seen = [], {}
    for mutant in (mutant for path in paths for mutant in mutants_of(path)):
        # Lines may repeat; names may not.
        seen[mutant.name()] = count = seen.get(mutant.name(), 0) + 1
        mutants.append(mutant if count == 1 else
                       dataclasses.replace(mutant, what=f"{mutant.what}, place {count}"))
    return mutants


def includes_of(path, seen=None):
    seen = set() if seen is None else seen
    for name in re.findall(r'#include "(kernels/[^"]+)"', path.read_text()):
        if name not in seen and (ROOT / name).exists():
            seen.add(name)
            includes_of(ROOT / name, seen)
    return seen


class Build:
    """One CMake tree: how its kernels are compiled and its tests linked."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory).resolve()
        entries = json.loads(self.run_ninja("-t", "compdb"))
        self.compile = {e["file"]: e["command"] for e in entries if e["file"].endswith(".cu")}
        lists = (ROOT / "tests/kernels/CMakeLists.txt").read_text()
        self.test_of = {}
        for target, sources in re.findall(r"pagoda_test\((\w+)\s+SOURCES([^D]*?)DEPS", lists):
            for source in re.findall(r"(\w+)\.cc", sources):
                self.test_of[source] = target
        self.link = {target: self.run_ninja("-t", "commands", f"tests/kernels/{target}")
                     .strip().splitlines()[-1] for target in set(self.test_of.values())}

    def run_ninja(self, *words):
        return subprocess.run(["ninja", "-C", str(self.directory), *words], check=True,
                              capture_output=True, text=True).stdout.replace(
                                  f"ninja: Entering directory `{self.directory}'\n", "")

    def compiled(self, source, overlay):
        """The object of `source` as it is in the overlay, or None: it does not compile."""
        shadow = overlay / source.relative_to(ROOT)
        words = shlex.split(self.compile[str(source)])
        made = overlay / f"{source.stem}.{self.directory.name}.o"
        for flag in ("-MF", "-MT", "-o"):
            if flag in words:
                at = words.index(flag)
                del words[at:at + 2]
        words = [str(shadow if shadow.exists() else source) if word == str(source) else word
                 for word in words if word != "-MD"]
        compiler = next(i for i, word in enumerate(words) if re.search(r"(\+\+|clang)", word))
        words[compiler + 1:compiler + 1] = [f"-I{overlay}"]
        done = subprocess.run(words + ["-o", str(made)], cwd=self.directory, capture_output=True,
                              env=dict(os.environ, CCACHE_DISABLE="1"))
        return made if done.returncode == 0 else None

    def passes(self, test_file, objects, overlay):
        target = self.test_of[test_file]
        program = overlay / f"{test_file}.{self.directory.name}"
        line = self.link[target]
        line = line.replace(f"-o tests/kernels/{target} ", f"-o {program} ")
        line = line.replace(" kernels/libpagoda_kernels.a",
                            f" {' '.join(map(str, objects))} kernels/libpagoda_kernels.a", 1)
        subprocess.run(["bash", "-c", line], cwd=self.directory, check=True, capture_output=True)
        environment = dict(os.environ, PAGODA_TEST_DEVICE="emulated",
                           ASAN_OPTIONS="detect_leaks=0",
                           TSAN_OPTIONS="ignore_noninstrumented_modules=1:halt_on_error=1")
        try:
            done = subprocess.run([program, "-#", f"[#{test_file}]"], env=environment,
                                  capture_output=True, timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        finally:
            program.unlink()
        return done.returncode == 0


def covered_by(mutant):
    """(source to compile, test file) in the order in which they are tried."""
    if mutant.path.suffix == ".cu":
        sources = [mutant.path]
    else:
        name = str(mutant.path.relative_to(ROOT))
        sources = [s for s in sorted(KERNELS.glob("*.cu")) if name in includes_of(s)]
    return [(source, test) for source in sources
            for test in TESTS_OF.get(source.stem, [f"{source.stem}_test"])]


def outcome(mutant, builds):
    """What caught it: a build's name; "does not compile"; or None."""
    overlay = pathlib.Path(tempfile.mkdtemp(prefix="pagoda-mutant-"))
    try:
        shadow = overlay / mutant.path.relative_to(ROOT)
        shadow.parent.mkdir()
        shadow.write_text(mutant.text())
        for build in builds:
            objects = {}
            for source, test in covered_by(mutant):
                if source not in objects:
                    objects[source] = build.compiled(source, overlay)
                if objects[source] is None:
                    return "does not compile"
                if not build.passes(test, [objects[source]], overlay):
                    return build.directory.name
        return None
    finally:
        shutil.rmtree(overlay)


def known_survivors():
    """Name of a mutant -> why nothing can notice it."""
    reasons = {}
    for line in SURVIVORS.read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, reason = line.rpartition(" | ")
            reasons[name] = reason
    return reasons


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--builds", nargs="+", default=[])
    parser.add_argument("--draw", type=int, help="only so many, drawn by --seed")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only", default="", help="of files whose path has this in it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    mutants = [m for m in all_mutants() if arguments.only in str(m.path)]
    if arguments.draw:
        mutants = random.Random(arguments.seed).sample(mutants, min(arguments.draw, len(mutants)))
        print(f"drawn by {arguments.seed}")
    if arguments.list:
        print("\n".join(m.name() for m in mutants))
        print(f"{len(mutants)} mutants")
        return 0
    if not arguments.builds:
        parser.error("--builds: name at least one tree with PAGODA_CUDA=EMULATED")
    builds = [Build(directory) for directory in arguments.builds]
    reasons = known_survivors()
    begin = time.time()
    caught, counted, unexplained = {}, 0, []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        results = pool.map(lambda m: (m, outcome(m, builds)), mutants)
        for mutant, by in results:
            if by == "does not compile":
                print(f"left out, does not compile: {mutant.name()}", flush=True)
                continue
            counted += 1
            if by is not None:
                caught[by] = caught.get(by, 0) + 1
                continue
            reason = reasons.get(mutant.name())
            if reason is None:
                unexplained.append(mutant)
            where = f"{mutant.path.name}:{mutant.line_number(mutant.path.read_text())}"
            print(f"survives: {mutant.name()} ({where}): {reason or 'NO REASON'}", flush=True)
    total = sum(caught.values())
    share = total / counted if counted else 1.0
    by = ", ".join(f"{count} by {name}" for name, count in sorted(caught.items()))
    print(f"{total} of {counted} mutants caught ({100 * share:.1f} %) in "
          f"{time.time() - begin:.0f} s: {by or 'none'}")
    # A few drawn ones may be among the explained survivors.
    enough = share >= LEAST_SHARE or arguments.draw is not None
    return 0 if enough and not unexplained else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Lines of the GPU kernels that the tests reach under emulation, by gcov.

  tests/kernels/gpu_coverage.py BUILD [--least 98]

BUILD is a CMake tree with PAGODA_CUDA=EMULATED, compiled with --coverage, whose tests have
been run. A line counts once, however many instances a template has. Prints each file's share
and the lines that nothing reached; exits 1 when all together are below --least per cent.
"""
import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def is_kernel(path):
    """A .cu file, or a header with device code."""
    return path.parent == ROOT / "kernels" and (
        path.suffix == ".cu" or (path.name.startswith("gpu_") and path.suffix == ".h"
                                 and "__device__" in path.read_text()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("--least", type=float, default=98.0)
    arguments = parser.parse_args()
    build = pathlib.Path(arguments.build).resolve()
    counts = {}  # path -> line -> times
    notes = sorted(build.glob("kernels/CMakeFiles/**/*.cu.gcda"))
    if not notes:
        sys.exit(f"{build}: no counts of .cu files; build with --coverage and run the tests")
    for note in notes:
        done = subprocess.run(["gcov", "--json-format", "--stdout", str(note)], cwd=build,
                              capture_output=True, text=True, check=True)
        for report in done.stdout.splitlines():
            for entry in json.loads(report)["files"]:
                path = (build / entry["file"]).resolve()
                if not is_kernel(path):
                    continue
                lines = counts.setdefault(path, {})
                for line in entry["lines"]:
                    number = line["line_number"]
                    lines[number] = lines.get(number, 0) + line["count"]
    all_lines, reached = 0, 0
    for path, lines in sorted(counts.items()):
        missed = sorted(number for number, count in lines.items() if count == 0)
        all_lines += len(lines)
        reached += len(lines) - len(missed)
        print(f"{path.relative_to(ROOT)}: {len(lines) - len(missed)} of {len(lines)}"
              + (f", not line {', '.join(map(str, missed))}" if missed else ""))
    share = 100.0 * reached / all_lines
    print(f"{reached} of {all_lines} lines of GPU kernels reached: {share:.1f} %")
    return 0 if share >= arguments.least else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""The rules of docs/architecture.md and CONTRIBUTING.md that a script can check.

  tests/lint/lint.py            checks the text of the tree; a second or two
  tests/lint/lint.py --headers BUILD_DIR
                                also compiles every header alone (self-contained?)

Prints `file:line: rule: sentence` for every breach and exits 1 if there is one.
"""
import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("base", "proto", "kernels", "embedding_store", "algorithms", "server", "worker",
           "deploy", "tests")

# Who may include whom (docs/architecture.md, "Folders").
MAY_INCLUDE = {
    "base": {"base"},
    "proto": {"proto"},
    "kernels": {"kernels", "base"},
    "embedding_store": {"embedding_store", "base"},
    "algorithms": {"algorithms", "base", "kernels"},
    "server": {"server", "base", "proto", "embedding_store"},
    "worker": {"worker", "base", "proto", "kernels", "algorithms"},
    "deploy": set(FOLDERS) - {"tests"},
    "tests": set(FOLDERS),
}

# One door per dependency: (pattern of the included header, where it may appear).
DOORS = [
    (r"rocksdb/", r"^(embedding_store/|tests/benchmarks/peers/raw_rocksdb\.cc$)"),
    (r"grpcpp/|grpc/|\.grpc\.pb\.h", r"(_grpc\.(h|cc)$)|(^deploy/)|(_grpc_test\.cc$)"),
    (r"gloo/", r"^worker/allreduce_gloo\.(h|cc)$"),
    (r"(^|/)nccl\.h", r"^worker/allreduce_nccl\.(h|cc)$"),
    (r"cuda_runtime|cublas", r"^kernels/gpu\.h$"),
    (r"spdlog/", r"^base/log\.(h|cc)$"),
    (r"cblas\.h|dnnl|openblas", r"^kernels/gemm_cpu\.cc$"),
    (r"CLI/", r"^deploy/command_line\.cc$"),
    (r"toml\+\+|toml\.hpp|tomlplusplus", r"^deploy/job_file_toml\.cc$"),
    (r"xxhash\.h", r"^base/hash\.cc$"),
    (r"zlib\.h|zstd\.h", r"^(worker/input_file|tests/worker/).*$"),
]

HEADER_LINES_MAX = 300
SOURCE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
WIDTH_MAX = 100
FORBIDDEN_NAMES = re.compile(r"(^|[/_])(utils?|helpers?|common|misc)([/_.]|$)")

# Sources without a test file of their own name, each with the reason.
NO_TEST_OF_ITS_NAME = ROOT / "tests/lint/sources_without_own_test.txt"


def tracked(*suffixes):
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                         cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [f for f in sorted(set(out.splitlines()))
            if f.endswith(suffixes) and (ROOT / f).is_file()]


class Report:
    def __init__(self):
        self.lines = []

    def add(self, file, line, rule, sentence):
        self.lines.append(f"{file}:{line}: {rule}: {sentence}")


def check_includes(file, lines, report):
    folder = file.split("/")[0]
    for number, line in enumerate(lines, 1):
        match = re.match(r'\s*#\s*include\s+[<"]([^>"]+)[>"]', line)
        if not match:
            continue
        included = match.group(1)
        target = included.split("/")[0]
        if folder in MAY_INCLUDE and target in FOLDERS and "/" in included:
            if target not in MAY_INCLUDE[folder]:
                report.add(file, number, "layering", f"{folder}/ may not include {included}")
        for pattern, allowed in DOORS:
            if re.match(pattern, included) or re.search(pattern, included):
                if not re.search(allowed, file):
                    report.add(file, number, "door", f"{included} has one door, and it is not here")


def check_text(file, lines, report):
    header = file.endswith(".h")
    limit = HEADER_LINES_MAX if header else SOURCE_LINES_MAX
    if len(lines) > limit:
        report.add(file, len(lines), "length", f"{len(lines)} lines; the limit is {limit}")
    if FORBIDDEN_NAMES.search(file):
        report.add(file, 1, "name", "name the concept: no utils, helpers, common")
    for number, line in enumerate(lines, 1):
        if len(line) > WIDTH_MAX and "http" not in line and 'R"' not in line:
            report.add(file, number, "width", f"{len(line)} columns; the limit is {WIDTH_MAX}")
        if re.search(r"\b(TODO|FIXME|XXX)\b", line):
            report.add(file, number, "mark", "finish it, or file an issue")
        if line.rstrip() != line:
            report.add(file, number, "blank", "trailing white space")
        if header and re.match(r"\s*using namespace", line):
            report.add(file, number, "namespace", "no using-directive in a header")
    if header:
        if not any(line.strip() == "#pragma once" for line in lines):
            report.add(file, 1, "pragma", "a header begins with its contract, then #pragma once")
        if not lines or not lines[0].startswith("//"):
            report.add(file, 1, "contract", "a header's first line is a comment that says what it is")


def strip_code(text):
    """Blanks out comments, strings and character literals, keeping line breaks."""
    pattern = re.compile(
        r'R"(\w*)\((?:.|\n)*?\)\1"|//[^\n]*|/\*(?:.|\n)*?\*/|"(?:\\.|[^"\\\n])*"'
        r"|(?<![0-9a-zA-Z])'(?:\\.|[^'\\\n])'")
    return pattern.sub(lambda m: "\n" * m.group(0).count("\n"), text)


def check_functions(file, text, report):
    """Finds bodies whose opening line ends a parameter list, at namespace or class level."""
    depth_kinds = []  # 'scope' for namespace/class/enum, 'body' for anything else
    start = None
    statement = ""
    line = 1
    for char in strip_code(text):
        if char == "\n":
            line += 1
        if char == "{":
            head = statement.strip()
            scope = re.search(r"\b(namespace|class|struct|enum|union|extern)\b[^()=]*$", head)
            kind = "scope" if scope and "body" not in depth_kinds else "body"
            if kind == "body" and "body" not in depth_kinds and ")" in head:
                start = line
            depth_kinds.append(kind)
            statement = ""
        elif char == "}":
            if depth_kinds:
                kind = depth_kinds.pop()
                if kind == "body" and "body" not in depth_kinds and start is not None:
                    length = line - start + 1
                    if length > FUNCTION_LINES_MAX and "TEST_CASE" not in statement:
                        report.add(file, start, "function",
                                   f"{length} lines; the limit is {FUNCTION_LINES_MAX}")
                    start = None
            statement = ""
        elif char == ";":
            statement = ""
        else:
            statement += char


def check_tests_exist(sources, report):
    exceptions = set()
    if NO_TEST_OF_ITS_NAME.exists():
        for row in NO_TEST_OF_ITS_NAME.read_text().splitlines():
            if row.strip() and not row.startswith("#"):
                exceptions.add(row.split()[0])
    tests = {pathlib.Path(f).name for f in tracked("_test.cc")}
    for file in sources:
        folder = file.split("/")[0]
        if folder in ("tests",) or not file.endswith((".cc", ".cu")):
            continue
        stem = re.sub(r"(_cpu)?\.(cc|cu)$", "", pathlib.Path(file).name)
        if f"{stem}_test.cc" not in tests and file not in exceptions:
            report.add(file, 1, "test", f"no tests/**/{stem}_test.cc (or an entry with a reason in "
                                        f"{NO_TEST_OF_ITS_NAME.relative_to(ROOT)})")
    for file in exceptions:
        if not (ROOT / file).exists():
            report.add(str(NO_TEST_OF_ITS_NAME.relative_to(ROOT)), 1, "test", f"{file} is gone")


def check_cycles(sources, report):
    graph = {}
    for file in sources:
        if file.endswith(".h"):
            text = (ROOT / file).read_text()
            graph[file] = [i for i in re.findall(r'#\s*include\s+"([^"]+)"', text)]
    state = {}

    def visit(node, path):
        state[node] = 1
        for nxt in graph.get(node, []):
            if nxt not in graph:
                continue
            if state.get(nxt) == 1:
                report.add(node, 1, "cycle", " -> ".join(path + [node, nxt]))
            elif state.get(nxt) is None:
                visit(nxt, path + [node])
        state[node] = 2

    for node in graph:
        if state.get(node) is None:
            visit(node, [])


def check_readmes(report):
    for folder in FOLDERS + ("docs",):
        if not (ROOT / folder / "README.md").exists():
            report.add(folder, 1, "readme", "every folder says on one screen what is in it")
    headers = [f for f in tracked(".h") if f.startswith("base/")]
    if len(headers) > 10:
        report.add("base", 1, "base", f"{len(headers)} headers; base/ has at most ten")


def check_markdown_links(report):
    for file in tracked(".md"):
        base = (ROOT / file).parent
        for number, line in enumerate((ROOT / file).read_text().splitlines(), 1):
            for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", line):
                if "://" in target or target.startswith("mailto:"):
                    continue
                if not (base / target).exists():
                    report.add(file, number, "link", f"{target} does not exist")


def headers_included_first():
    """Headers that the build compiles alone, as the first thing that a source includes: alone
    but for the precompiled header, whose names check_precompiled_names looks for."""
    first = set()
    for source in tracked(".cc"):
        match = re.search(r'^#include ([<"])([^>"]+)', (ROOT / source).read_text(), re.MULTILINE)
        if match and match.group(1) == '"':
            first.add(match.group(2))
    return first


# Names of the headers that cmake/targets.cmake precompiles, and where they come from.
PRECOMPILED_NAMES = [
    (r"std::(vector)\b", {"vector"}),
    (r"std::(string|to_string)\b", {"string"}),
    (r"std::(map|multimap)\b", {"map"}),
    (r"std::(function)\b", {"functional"}),
    (r"std::(unique_ptr|shared_ptr|weak_ptr|make_unique|make_shared)\b", {"memory"}),
    (r"std::(mutex|lock_guard|unique_lock|scoped_lock)\b", {"mutex"}),
    (r"std::(thread)\b", {"thread"}),
    (r"std::(min|max|clamp|sort|copy|copy_n|fill|fill_n|find|find_if|any_of|all_of|equal|"
     r"binary_search|lower_bound|upper_bound)\(", {"algorithm"}),
    (r"std::(sqrt|fabs|pow|log|exp|isfinite|isnan|floor|ceil|round|nextafter)\(", {"cmath"}),
    (r"absl::(StatusOr)\b", {"absl/status/statusor.h"}),
    (r"absl::(Status|OkStatus|\w+Error)\b(?!Or)", {"absl/status/status.h", "absl/status/statusor.h"}),
    (r"absl::(StrCat|StrAppend)\(", {"absl/strings/str_cat.h"}),
    (r"absl::(Duration|Time|Seconds|Milliseconds|Minutes)\b", {"absl/time/time.h"}),
    (r"\b(REQUIRE|CHECK|INFO|CAPTURE|GENERATE|Approx)\b", {"catch2/catch.hpp"}),
]


def includes_of(header, seen):
    """What a header includes, and what its project's headers do."""
    if header in seen or not (ROOT / header).exists():
        return set()
    seen.add(header)
    found = set(re.findall(r'^#include [<"]([^>"]+)', (ROOT / header).read_text(), re.MULTILINE))
    for other in list(found):
        found |= includes_of(other, seen)
    return found


def check_precompiled_names(report):
    for header in tracked(".h"):
        text = re.sub(r"//[^\n]*|\"[^\"\n]*\"", "", (ROOT / header).read_text())
        there = includes_of(str(header), set())
        for pattern, sources in PRECOMPILED_NAMES:
            used = re.search(pattern, text)
            if used and not sources & there:
                report.add(header, 1, "self-contained",
                           f"{used.group(1)} needs #include <{sorted(sources)[0]}>")


def check_headers_compile(build_dir, report):
    generated = pathlib.Path(build_dir).resolve()
    flags = ["-std=c++20", f"-I{ROOT}", f"-I{generated}", f"-I{generated}/proto", "-fsyntax-only",
             "-w", "-x", "c++", "-DSPDLOG_COMPILED_LIB", "-DSPDLOG_FMT_EXTERNAL",
             '-DPAGODA_VERSION="0"']
    # Those for .cu files are read as the emulated build reads them.
    emulated = ["-DPAGODA_GPU", "-DPAGODA_GPU_EMULATED"]

    def compile_one(header):
        more = emulated if str(header).startswith("kernels/gpu") else []
        done = subprocess.run(["g++", *flags, *more, str(ROOT / header)], capture_output=True,
                              text=True)
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        return header, done.returncode, errors[0] if errors else done.stderr[:200]

    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        proven = headers_included_first()
        for header, code, error in pool.map(compile_one,
                                            [h for h in tracked(".h") if h not in proven]):
            if code != 0:
                report.add(header, 1, "self-contained", error)


def check_format(sources, report):
    try:
        done = subprocess.run(["clang-format", "--dry-run", "-Werror", *sources], cwd=ROOT,
                              capture_output=True, text=True)
    except FileNotFoundError:
        print("lint: clang-format is not installed; formatting not checked")
        return
    for line in done.stderr.splitlines():
        match = re.match(r"([^:]+):(\d+):\d+: error: code should be clang-formatted", line)
        if match:
            report.add(match.group(1), match.group(2), "format", "run clang-format -i")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headers", metavar="BUILD_DIR",
                        help="also compile every header alone that no source includes first, "
                             "with this build's generated files")
    arguments = parser.parse_args()
    report = Report()
    sources = [f for f in tracked(".h", ".cc", ".cu", ".cuh") if f.split("/")[0] in FOLDERS]
    for file in sources:
        text = (ROOT / file).read_text()
        lines = text.splitlines()
        check_includes(file, lines, report)
        check_text(file, lines, report)
        if not file.startswith("tests/"):
            check_functions(file, text, report)
    check_tests_exist(sources, report)
    check_cycles(sources, report)
    check_readmes(report)
    check_markdown_links(report)
    check_precompiled_names(report)
    check_format(sources, report)
    if arguments.headers:
        check_headers_compile(arguments.headers, report)
    for line in report.lines:
        print(line)
    print(f"lint: {len(sources)} source files, {len(report.lines)} breaches")
    return 1 if report.lines else 0


if __name__ == "__main__":
    sys.exit(main())

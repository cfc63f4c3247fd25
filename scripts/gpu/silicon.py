"""docs/silicon.md: what has run on which GPU.

The file is the record itself: it is read, the rows that a check has proven are renewed, and it is written again. What
the sources no longer have disappears, what is new appears with "never".
"""

import dataclasses
import re

from gpu import sources
from gpu.installation import ROOT
from gpu.process import PASSED

FILE = ROOT / "docs" / "silicon.md"
NEVER = "never"

HEAD = """# What has run on a GPU

Everything is tested on the emulated device in CI (docs/emulator.md). This page says what has also passed its tests on real
hardware, where, and at which commit; `scripts/gpu_check` writes it ([how](gpu.md)). "never" means just that.

A kernel's row stands for all tests of its operation, which run over every dtype. A wrapper around PTX instructions has two
bodies, one for a GPU and one for the emulated device, and only a GPU runs the first: its row stands for the tests of every
operation whose kernel includes it, and of the wrapper itself.
"""


@dataclasses.dataclass
class Row:
    """A line of a table: its first cells, the suites that must pass, and where they last did."""

    shown: list
    suites: list
    below: int = 0  # only GPUs of a lower __CUDA_ARCH__ run it
    gpu: str = NEVER
    commit: str = ""
    date: str = ""


def kernel_rows():
    return [Row([f"`{operation}`", dtype], sources.suites(operation))
            for operation in sources.operations() for dtype in sources.dtypes(operation)]


def wrapper_rows():
    rows = []
    for wrapper in sources.ptx_wrappers():
        stems = [*wrapper.operations, sources.stem_of(wrapper.file)]
        suites = sorted({suite for stem in stems for suite in sources.suites(stem)})
        name = f"`{wrapper.function}`" + (f" below sm_{wrapper.below // 10}" if wrapper.below else "")
        instructions = ", ".join(f"`{name}`" for name in wrapper.instructions)
        rows.append(Row([name, instructions, f"`{wrapper.file}`"], suites, wrapper.below))
    return rows


def is_proven(row, report, passed):
    architecture = round(100 * float(report["facts"]["gpu"]["compute_cap"]))
    return row.suites and set(row.suites) <= passed and (not row.below or architecture < row.below)


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def remembered(text):
    """{first cells of a row, joined: (gpu, commit, date)} of what the file says."""
    found = {}
    for line in text.splitlines():
        if re.match(r"\| `", line):
            *shown, gpu, commit, date = cells_of(line)
            found[" | ".join(shown)] = (gpu, commit, date)
    return found


def passing_suites(report):
    """Suites of unit_tests of which a case passed and none did anything else but skip, in a report's part "tests"."""
    outcomes = {}
    for part in report["parts"]:
        if part["name"] != "tests":
            continue
        for line in part["lines"]:
            if found := re.match(r"unit_tests: (.+)\.[^.]+$", line["name"]):
                outcomes.setdefault(found[1].split("/")[0], set()).add(line["status"])
    return {suite for suite, found in outcomes.items() if PASSED in found and found <= {PASSED, "not run"}}


def table(heading, rows):
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    lines += ["| " + " | ".join([*row.shown, row.gpu, row.commit, row.date]) + " |" for row in rows]
    return "\n".join(lines)


def renewed(text, report=None):
    """The file's new text: what `text` says, and what the report proves."""
    old = remembered(text)
    passed = passing_suites(report) if report else set()
    kernels, wrappers = kernel_rows(), wrapper_rows()
    for row in [*kernels, *wrappers]:
        row.gpu, row.commit, row.date = old.get(" | ".join(row.shown), (NEVER, "", ""))
        if report and is_proven(row, report, passed):
            build = report["facts"]["build"]
            row.gpu = report["facts"]["gpu"]["name"]
            row.commit = build["commit"][:10] + (" + changes" if build.get("changed") else "")
            row.date = report["date"][:10]
    last = ["last passed on", "commit", "date"]
    parts = [HEAD, "## Kernels\n", table(["operation", "dtype", *last], kernels) + "\n", "## PTX wrappers\n"]
    parts.append(table(["function", "instructions", "file", *last], wrappers) if wrappers
                 else "There are none: no kernel has inline assembly.")
    return "\n".join(parts) + "\n"


def write(report=None):
    """Renew the file, from a report of a real GPU if there is one."""
    FILE.write_text(renewed(FILE.read_text() if FILE.exists() else "", report))

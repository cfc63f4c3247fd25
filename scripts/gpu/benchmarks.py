"""The kernels' benchmarks, a process for each operation: time, bytes and FLOP a second, percentage of the measured peak."""

import json
import re

from gpu.process import FAILED, PASSED, STOPPED, Deadline, run
from gpu.result import Part

# Sizes that keep a GPU busy, with cold operands; smaller ones measure launches.
FULL = r"^(peak/.*/cuda|.*/(gpt2_124m|odd_255x80|dropout_256x64|long_4096x64|wide_2048x128)/cuda/cold|step_control/.*/cuda/warm)"
TINY = r"^(peak/copy/cuda|.*/tiny/cuda/warm)"
LEAST_GROUP_SECONDS = 20  # of every operation: its process begins by measuring the peaks
LEAST_SECONDS = {True: "0.001", False: "0.1"}  # of measuring each benchmark, by --tiny
# What the columns of a report are made of: (heading, key in Google Benchmark's JSON, factor, digits).
COLUMNS = [("GB/s", "bytes_per_second", 1e-9, 0), ("TFLOP/s", "FLOP/s", 1e-12, 1), ("% of peak", "%peak", 1, 0)]


def groups(context, pattern):
    """[(operation, names of its benchmarks)], the peaks first."""
    listed = run([context.installation.program("accrue_bench"), f"--benchmark_filter={pattern}",
                  "--benchmark_list_tests"], Deadline(120), context.installation.environment())
    names = [line.strip() for line in listed.output.splitlines() if "/cuda" in line]
    operations = sorted({name.split("/")[0] for name in names}, key=lambda name: (name != "peak", name))
    return [(operation, [name for name in names if name.split("/")[0] == operation]) for operation in operations]


def run_group(context, names, deadline):
    pattern = f"^({'|'.join(re.escape(name) for name in names)})$"
    return run([context.installation.program("accrue_bench"), f"--benchmark_filter={pattern}",
                "--benchmark_format=json", f"--benchmark_min_time={LEAST_SECONDS[context.tiny]}"], deadline,
               context.installation.environment(), keep_errors_apart=True)


def rows_of(output):
    """The benchmarks of an output in JSON, also of one that was cut short: it has an object for each."""
    try:
        return json.loads(output)["benchmarks"]
    except ValueError:
        return [json.loads(text) for text in re.findall(r"\n    (\{\n.*?\n    \})", output, re.DOTALL)]


def bare(name):
    """Without what Google Benchmark appends to a name."""
    return re.sub(r"/(iterations:\d+|manual_time|real_time)", "", name)


def cells(row):
    nanoseconds = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}[row["time_unit"]] * row["real_time"]
    time = "" if row["name"].startswith("peak/") else f"{nanoseconds / 1e3:,.1f}"
    peak_key = {"bytes_per_second": "bytes/s"} if row["name"].startswith("peak/") else {}
    values = [row.get(peak_key.get(key, key)) for _, key, _, _ in COLUMNS]
    return [bare(row["name"]), time,
            *("" if value is None else f"{value * factor:,.{digits}f}"
              for value, (_, _, factor, digits) in zip(values, COLUMNS))]


def check(context, deadline):
    part = Part("benchmarks")
    table = [["benchmark", "µs", *(heading for heading, *_ in COLUMNS)]]
    figures = []
    all_groups = groups(context, TINY if context.tiny else FULL)
    left = sum(len(names) for _, names in all_groups)
    for operation, names in all_groups:
        share = max(LEAST_GROUP_SECONDS, deadline.left() * len(names) / left)
        done = run_group(context, names, Deadline(min(deadline.left(), share)))
        left -= len(names)
        rows = rows_of(done.output)
        errors = [f"{bare(row['name'])}: {row['error_message']}" for row in rows if row.get("error_occurred")]
        good = [row for row in rows if not row.get("error_occurred")]
        figures += good
        table += [cells(row) for row in good]
        status = STOPPED if done.exit_code is None else FAILED if errors or done.status != PASSED else PASSED
        ended = done.status != FAILED or errors
        part.add(operation, status, done.seconds, "; ".join(
            [f"{len(good)} of {len(names)} benchmarks", *errors[:3], *([] if ended else [done.last_lines(4)])]))
    if not part.lines:
        part.note = "no benchmark of a CUDA device is here"
    part.tables["kernels"] = table
    (context.out / "benchmarks.json").write_text(json.dumps(figures, indent=1) + "\n")
    return part

"""Reports of accrue_bench: read, checked, condensed, written.

A report is Google Benchmark's JSON. Condensed, it keeps every repetition, one a line, and loses the host's name,
aggregates that follow from the repetitions, and digits that nobody measured.
"""

import dataclasses
import json
import math
import pathlib
import re
import statistics

BAD_DATA, NO_INPUT = 65, 66  # docs/exit-codes.md
NANOSECONDS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
DIGITS = 6  # that are kept of a figure
KEPT = ["name", "run_type", "repetition_index", "iterations", "real_time", "cpu_time", "time_unit", "bytes_per_second",
        "FLOP/s", "bytes/s", "%peak", "%gemm", "error_occurred", "error_message"]
LEFT_OUT = ["host_name", "library_build_type"]  # the latter is Google Benchmark's own, not that of what is measured


class Unusable(Exception):
    """A report that cannot be used; the message is for the user, and code the exit code."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


@dataclasses.dataclass
class Series:
    """All repetitions of one benchmark."""

    name: str
    seconds: list = dataclasses.field(default_factory=list)
    bytes: float = 0  # of one call, as are flop
    flop: float = 0
    of_peak: list = dataclasses.field(default_factory=list)  # percentages
    of_gemm: list = dataclasses.field(default_factory=list)

    def part(self, which):
        """Of the name OPERATION/DTYPE/SIZE/DEVICE/CACHE; another program's name is all operation."""
        words = self.name.rsplit("/", 4)
        if len(words) < 5:
            words = [self.name, "", "", "", ""]
        return words[["operation", "dtype", "size", "device", "cache"].index(which)]


@dataclasses.dataclass
class Report:
    """What a report says: of the machine, of its peaks, of each benchmark in its order, and what failed."""

    context: dict
    series: dict
    peak_values: dict  # "copy/cpu", "update/cpu" -> [bytes/s]; "fma/f32/cpu", "gemm/f32/cpu", "products/bf16/cuda" -> [FLOP/s]
    errors: dict  # name -> message

    @property
    def peaks(self):
        """Their medians."""
        return {name: statistics.median(values) for name, values in self.peak_values.items()}


def bare(name):
    """Without what Google Benchmark appends to a name."""
    return re.sub(r"/(iterations:\d+|repeats:\d+|manual_time|real_time|process_time)", "", name)


def number(row, key, path):
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise Unusable(BAD_DATA, f"{path}: {row['name']} has no usable {key} ({value!r}); measure again")
    return value


def rows_of(document, path):
    """The rows that are measurements, each with a bare name."""
    rows = document.get("benchmarks") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not isinstance(document.get("context"), dict):
        raise Unusable(BAD_DATA, f"{path} is not a benchmark report (JSON with \"context\" and \"benchmarks\"); "
                                 "scripts/bench writes one, and so does accrue_bench --benchmark_out=FILE")
    if not all(isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows):
        raise Unusable(BAD_DATA, f"{path} is not a benchmark report: some benchmarks have no name; measure again")
    measured = [{**row, "name": bare(row["name"])} for row in rows if row.get("run_type", "iteration") == "iteration"]
    if rows and not measured:
        raise Unusable(BAD_DATA, f"{path} has aggregates alone, and the noise is in the repetitions; "
                                 "measure again without --benchmark_report_aggregates_only")
    if not measured:
        raise Unusable(BAD_DATA, f"{path} has no benchmarks; measure again with a --filter that matches some")
    return measured


def read_json(path):
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Unusable(BAD_DATA, f"{path} is not a benchmark report: it is not text") from None
    except OSError as error:
        raise Unusable(NO_INPUT, f"{path} cannot be read: {error.strerror}; "
                                 "scripts/bench prints where it writes a report") from None
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unusable(BAD_DATA, f"{path} is not whole JSON ({error}); was its run stopped? measure again") from None


def add_repetition(series, row, path):
    unit = NANOSECONDS.get(row.get("time_unit"))
    if unit is None:
        raise Unusable(BAD_DATA, f"{path}: {row['name']} has the time unit {row.get('time_unit')!r}; "
                                 f"there are {', '.join(NANOSECONDS)}")
    seconds = number(row, "real_time", path) * unit * 1e-9
    if seconds == 0:
        raise Unusable(BAD_DATA, f"{path}: {row['name']} took no time; measure again")
    series.seconds.append(seconds)
    for key, figures in (("%peak", series.of_peak), ("%gemm", series.of_gemm)):
        if key in row:
            figures.append(number(row, key, path))
    # A rate times the time of its own repetition.
    series.bytes = number(row, "bytes_per_second", path) * seconds if "bytes_per_second" in row else 0
    series.flop = number(row, "FLOP/s", path) * seconds if "FLOP/s" in row else 0


def understood(document, path):
    """The Report of a parsed document; `path` is for messages."""
    rows = rows_of(document, path)
    report = Report(document["context"], {}, {}, {})
    for row in rows:
        name = row["name"]
        if row.get("error_occurred"):
            report.errors[name] = row.get("error_message", "it does not say why")
        elif name.startswith("peak/"):
            value = number(row, "bytes/s" if "bytes/s" in row else "FLOP/s", path)
            report.peak_values.setdefault(name.removeprefix("peak/"), []).append(value)
        else:
            add_repetition(report.series.setdefault(name, Series(name)), row, path)
    return report


def load(path):
    """The Report in a file; raises Unusable with one line that says what to do."""
    return understood(read_json(path), path)


def rounded(value):
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def condensed(rounds, facts, order):
    """The documents of rounds as one that is kept, each round a repetition.

    The context is that of the first round, with `facts` besides; the benchmarks come after the peaks, in this order.
    """
    context = {key: value for key, value in rounds[0]["context"].items() if key not in LEFT_OUT}
    if "executable" in context:
        context["executable"] = pathlib.PurePath(context["executable"]).name
    rows = [{**row, "repetition_index": index} for index, document in enumerate(rounds)
            for row in rows_of(document, "the report")]
    place = {name: number for number, name in enumerate(order)}
    rows.sort(key=lambda row: (place.get(row["name"], -1), row["name"] if row["name"] not in place else ""))
    return {"context": {**context, **facts},
            "benchmarks": [{key: rounded(row[key]) for key in KEPT if key in row} for row in rows]}


def text_of(document):
    """As JSON with one measurement a line: what differs between two reports are lines."""
    context = json.dumps(document["context"], indent=1, ensure_ascii=False)
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in document["benchmarks"])
    return f'{{"context": {context},\n"benchmarks": [\n{rows}\n]}}\n'

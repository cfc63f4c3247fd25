"""A report as text: the machine, its peaks, a line for each benchmark."""

import statistics

from measure import noise

HEADINGS = ["kernel", "dtype", "size", "device", "cache", "time", "±", "GB/s", "GFLOP/s", "% of peak", "% of GEMM"]
LEFT = 5  # columns that are words
BYTES = ("copy", "update")  # the peaks that are bytes a second


def three_digits(value):
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def duration(seconds):
    unit, factor = next(((unit, factor) for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)) if seconds * factor >= 1),
                        ("ns", 1e9))
    return f"{three_digits(seconds * factor)} {unit}"


def half_width(values):
    """Of the noise band, in percent; nothing where there are too few values for one."""
    return f"{100 * noise.spread(values):.0f} %" if noise.rank(len(values)) else ""


def rate(amount, seconds):
    if not amount:
        return ""
    return three_digits(amount / seconds * 1e-9)


def percentage(values):
    return f"{statistics.median(values):.0f}" if values else ""


def cells(series):
    seconds = statistics.median(series.seconds)
    words = [series.part(which) for which in ("operation", "dtype", "size", "device", "cache")]
    return [*words, duration(seconds), half_width(series.seconds), rate(series.bytes, seconds),
            rate(series.flop, seconds), percentage(series.of_peak), percentage(series.of_gemm)]


def aligned(rows, left=LEFT):
    """Rows of cells as lines, the first `left` columns to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) if column < left else cell.rjust(width)
                        for column, (cell, width) in enumerate(zip(row, widths))).rstrip()


def machine(context):
    """One line that says where the figures are from."""
    known = [context.get(key) for key in ("cpu", "instruction_set", "compiler", "build_type", "gemm_library", "revision")]
    threads = context.get("cpu_threads")
    gpu = context.get("cuda", "")
    return ", ".join([str(word) for word in known if word] + ([f"{threads} threads"] if threads else [])
                     + ([gpu] if "compute capability" in gpu else []))


def peak_lines(report):
    for name, values in report.peak_values.items():
        unit = "GB/s" if name.startswith(BYTES) else "GFLOP/s"
        yield f"peak {name}: {statistics.median(values) * 1e-9:,.1f} {unit}" + (f" ± {half_width(values)}" if half_width(values) else "")


def lines(report):
    """The whole text, line by line."""
    yield machine(report.context)
    yield from peak_lines(report)
    if report.series:
        yield ""
        yield from aligned([HEADINGS, *(cells(series) for series in report.series.values())])
    if report.errors:
        yield ""
        yield from (f"FAILED {name}: {message}" for name, message in report.errors.items())

"""The roofline of a report (Williams, Waterman and Patterson, CACM 52(4), 2009) as one SVG that needs nothing else.

Across: FLOP a byte of operands, read or written. Upwards: FLOP a second. The roofs are the peaks that the same run has
measured: the slope is a copy that no cache holds, the level is the arithmetic. Kernels that compute nothing have no
place there: they stand in a panel of their own, by bytes a second.
"""

import dataclasses
import statistics
from xml.sax.saxutils import escape

from measure import table
from measure.chart import LogAxis, Labels, line, marker, text, with_prefix

WIDTH, HEIGHT = 1100, 720
TOP, BOTTOM = 64, 56
COPIES_LEFT, COPIES_RIGHT = 72, 180  # the panel of those that compute nothing
LEFT, RIGHT = 262, 890
KEY, KEY_HEIGHT = RIGHT + 22, 270  # below the roofs' names
ROOF_NAMES_APART = 14
# Distinct on white and on black, and for colour-blind readers (Okabe & Ito), and by shape.
FAMILIES = {
    "matrix products": ("#0072b2", "circle", ("matmul", "linear", "onednn")),
    "attention": ("#d55e00", "diamond", ("attention",)),
    "rows": ("#009e73", "square", ("layernorm", "residual_layernorm", "embedding", "cross_entropy")),
    "element by element": ("#cc79a7", "triangle", ("gelu", "relu", "bias", "add", "scale", "dropout", "cast",
                                                   "grad_accumulate")),
    "optimizer": ("#e69f00", "wedge", ("optimizer", "step_control")),
    "others": ("#56b4e9", "cross", ()),
}
STYLE = """
  text { font: 12px sans-serif; fill: #222 } .title { font-size: 15px } .small { font-size: 11px }
  .label { font-size: 10px; paint-order: stroke; stroke: #fff; stroke-width: 3px }
  .grid { stroke: #e4e4e4 } .axis { stroke: #666; fill: none } .back { fill: #fff }
  .roof { stroke: #222; stroke-width: 1.6; fill: none } .gemm { stroke: #222; stroke-dasharray: 6 4; fill: none }
  .pair { stroke: #999; stroke-opacity: .45 } .point { stroke-width: 1.3; fill-opacity: .75 } .point:hover { stroke-width: 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd } .label { stroke: #181818 } .grid { stroke: #303030 } .axis { stroke: #999 } .back { fill: #181818 }
    .roof, .gemm { stroke: #ddd }
  }
"""


class NothingToDraw(ValueError):
    """A report without what a roofline is made of; the message says what is missing."""


@dataclasses.dataclass
class Point:
    """One benchmark."""

    series: object
    family: str
    seconds: float

    @property
    def intensity(self):
        return self.series.flop / self.series.bytes

    def height(self):
        """FLOP/s; bytes/s of those that compute nothing."""
        return (self.series.flop or self.series.bytes) / self.seconds

    def tooltip(self):
        described = [self.series.name, table.duration(self.seconds), with_prefix(self.series.bytes / self.seconds, "B/s")]
        if self.series.flop:
            described += [with_prefix(self.series.flop / self.seconds, "FLOP/s"), f"{self.intensity:.3g} FLOP/byte"]
        if self.series.of_peak:
            described.append(f"{table.percentage(self.series.of_peak)} % of peak")
        return "\n".join(described)


def family_of(name):
    first = name.split("/")[0]
    return next((family for family, (_, _, beginnings) in FAMILIES.items()
                 if first in beginnings or any(first.startswith(beginning + "_") for beginning in beginnings)), "others")


def points_of(report, device):
    """Without the size tiny, which measures calls and not kernels; where a report has nothing else, with it."""
    points = [Point(series, family_of(series.name), statistics.median(series.seconds))
              for series in report.series.values() if series.part("device") == device and series.bytes > 0]
    return [point for point in points if point.series.part("size") != "tiny"] or points


def roofs_of(report, device):
    """(bytes/s of the copy, [(name, FLOP/s, whether it bounds)]), the highest first."""
    copy = report.peaks.get(f"copy/{device}")
    compute = sorted(((name.removesuffix(f"/{device}"), value, not name.startswith("gemm"))
                      for name, value in report.peaks.items() if name.endswith(f"/{device}") and not name.startswith(table.BYTES)),
                     key=lambda roof: -roof[1])
    if not copy or not compute:
        raise NothingToDraw(f"the report has no peaks of {device}; measure with '^peak/' in the filter, as scripts/bench does")
    return copy, compute


def draw_axes(x, y, copies):
    top, bottom = TOP, HEIGHT - BOTTOM
    for value in y.decades():
        yield line("grid", LEFT, y.at(value), RIGHT, y.at(value))
        yield text(LEFT - 8, y.at(value) + 4, with_prefix(value, "FLOP/s"), "end", "small")
    for value in x.decades():
        yield line("grid", x.at(value), top, x.at(value), bottom)
        yield text(x.at(value), bottom + 18, f"{value:g}", "middle", "small")
    yield f'<path class="axis" d="M{LEFT} {top}V{bottom}H{RIGHT}"/>'
    yield text((LEFT + RIGHT) / 2, HEIGHT - 14, "FLOP a byte", "middle")
    if copies:
        for value in copies.decades():
            yield line("grid", COPIES_LEFT, copies.at(value), COPIES_RIGHT, copies.at(value))
            yield text(COPIES_LEFT - 8, copies.at(value) + 4, with_prefix(value, "B/s"), "end", "small")
        yield f'<path class="axis" d="M{COPIES_LEFT} {top}V{bottom}H{COPIES_RIGHT}"/>'
        yield text((COPIES_LEFT + COPIES_RIGHT) / 2, HEIGHT - 14, "no arithmetic", "middle")


def draw_roofs(x, y, copy, compute):
    low, high = x.decades()[0], x.decades()[-1]
    limit = compute[0][1]
    begin = max(low, y.decades()[0] / copy)
    yield (f'<path class="roof" d="M{x.at(begin):.1f} {y.at(begin * copy):.1f}L{x.at(limit / copy):.1f} {y.at(limit):.1f}"/>')
    name_at = -ROOF_NAMES_APART
    for name, value, bounds in compute:
        yield line("roof" if bounds else "gemm", x.at(value / copy), y.at(value), x.at(high), y.at(value))
        name_at = max(y.at(value) + 4, name_at + ROOF_NAMES_APART)
        yield text(RIGHT + 6, name_at, f"{name}: {with_prefix(value, 'FLOP/s')}", cls="small")


def draw_pairs(points, place):
    """A line from the cold to the warm point of a benchmark: they have the same place across."""
    cold = {point.series.name.removesuffix("/cold"): point for point in points if point.series.part("cache") == "cold"}
    for point in points:
        other = cold.get(point.series.name.removesuffix("/warm"))
        if other and point.series.part("cache") == "warm":
            yield line("pair", *place(other), *place(point))


def draw_points(points, place):
    for point in points:
        colour, shape, _ = FAMILIES[point.family]
        yield marker(*place(point), shape, colour, point.series.part("cache") != "cold", point.tooltip())


def draw_labels(points, place, labels):
    """One for each operation, at its longest call; tooltips name the others."""
    longest = {}
    for point in points:
        operation = point.series.part("operation")
        if operation not in longest or point.seconds > longest[operation].seconds:
            longest[operation] = point
        labels.keep_clear(*place(point))
    for operation, point in longest.items():
        yield labels.place(*place(point), operation)


def draw_key(points, copy):
    row = HEIGHT - BOTTOM - KEY_HEIGHT
    for family, (colour, shape, _) in FAMILIES.items():
        if any(point.family == family for point in points):
            yield marker(KEY + 5, row - 4, shape, colour, True, cls="key")
            yield text(KEY + 18, row, family)
            row += 20
    caches = {point.series.part("cache") for point in points}
    for cache, words in (("warm", "warm: in caches that hold it"), ("cold", "cold: in no cache")):
        if cache in caches:
            row += 8 if cache == "warm" else 0
            yield marker(KEY + 5, row - 4, "circle", "#777", cache == "warm", cls="key")
            yield text(KEY + 18, row, words, cls="small")
            row += 20
    row += 8
    for words in (f"slope: a copy, {with_prefix(copy, 'B/s')}", "above it: served by caches", "names: hover over a point"):
        yield text(KEY, row, words, cls="small")
        row += 17


def svg(report, device):
    """The SVG's text; raises NothingToDraw without points or peaks of the device."""
    points = points_of(report, device)
    if not points:
        raise NothingToDraw(f"the report has no benchmark of {device} that moves bytes")
    copy, compute = roofs_of(report, device)
    computing, copying = [p for p in points if p.series.flop], [p for p in points if not p.series.flop]
    top, bottom = TOP, HEIGHT - BOTTOM
    # The knees of all roofs belong to the picture.
    x = LogAxis([*(p.intensity for p in computing), *(value / copy for _, value, _ in compute)], LEFT, RIGHT)
    y = LogAxis([*(p.height() for p in computing), *(value for _, value, _ in compute)], bottom, top)
    copies = LogAxis([*(p.height() for p in copying), copy], bottom, top) if copying else None
    # Side by side in the order of the report.
    step = (COPIES_RIGHT - COPIES_LEFT) / (len({p.series.name.rsplit("/", 1)[0] for p in copying}) + 1)
    columns = {}
    for point in copying:
        columns.setdefault(point.series.name.rsplit("/", 1)[0], COPIES_LEFT + step * (len(columns) + 1))

    def place(point):
        return x.at(point.intensity), y.at(point.height())

    def place_copy(point):
        return columns[point.series.name.rsplit("/", 1)[0]], copies.at(point.height())

    title = f"Roofline of {device}: {table.machine(report.context)}"
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
             f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>",
             f'<rect class="back" width="{WIDTH}" height="{HEIGHT}"/>',
             text(COPIES_LEFT if copying else LEFT, 24, f"Roofline, {device}", cls="title"),
             text(COPIES_LEFT if copying else LEFT, 42, table.machine(report.context), cls="small"),
             *draw_axes(x, y, copies), *draw_roofs(x, y, copy, compute), *draw_pairs(computing, place),
             *draw_labels(computing, place, Labels(LEFT, top, RIGHT, bottom)), *draw_points(computing, place)]
    if copying:
        parts += [line("roof", COPIES_LEFT, copies.at(copy), COPIES_RIGHT, copies.at(copy)),
                  *draw_pairs(copying, place_copy),
                  *draw_labels(copying, place_copy, Labels(COPIES_LEFT, top, LEFT - 70, bottom)),
                  *draw_points(copying, place_copy)]
    return "\n".join([*filter(None, parts), *draw_key(points, copy), "</svg>", ""])

"""What a chart in SVG is made of: logarithmic axes, markers, and labels that do not lie on one another."""

import math
from xml.sax.saxutils import escape

PREFIXES = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")]
CHARACTER, LINE = 6.1, 11  # about what a letter of a label takes, in pixels


def with_prefix(value, unit):
    """12345 as "12.3 k" and the unit; below 1 without a prefix."""
    # 999.7 M is 1 G in three digits.
    factor, prefix = next(((factor, prefix) for factor, prefix in PREFIXES if value >= 0.9995 * factor), (1, ""))
    return f"{value / factor:.3g} {prefix}{unit}"


class LogAxis:
    """Values on pixels, decade by decade: from the one below the smallest to the one above the largest."""

    def __init__(self, values, start, end):
        self.low, self.high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        if self.low == self.high:
            self.high += 1
        self.start, self.end = start, end

    def at(self, value):
        return self.start + (math.log10(value) - self.low) / (self.high - self.low) * (self.end - self.start)

    def decades(self):
        return [10.0**power for power in range(self.low, self.high + 1)]


def line(cls, x1, y1, x2, y2):
    return f'<line class="{cls}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x, y, words, anchor="start", cls=""):
    marked = f' class="{cls}"' if cls else ""
    return f'<text{marked} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


# Around the middle of a marker, each about as large as the others.
SHAPES = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "square": "M-3.6 -3.6h7.2v7.2h-7.2z",
    "triangle": "M0 -4.8L4.4 3.4H-4.4z",
    "diamond": "M0 -5L5 0L0 5L-5 0z",
    "cross": "M-1.6 -4.6h3.2v3h3v3.2h-3v3h-3.2v-3h-3v-3.2h3z",
    "wedge": "M0 4.8L4.4 -3.4H-4.4z",
}


def marker(x, y, shape, colour, filled, tooltip=None, cls="point"):
    """A shape whose tooltip a browser shows; hollow where it is not filled."""
    title = f"<title>{escape(tooltip)}</title>" if tooltip else ""
    return (f'<path class="{cls}" transform="translate({x:.1f} {y:.1f})" d="{SHAPES[shape]}" stroke="{colour}" '
            f'fill="{colour if filled else "none"}" pointer-events="all">{title}</path>')


class Labels:
    """Places labels beside their points, inside a box, where no label and no point is yet."""

    def __init__(self, left, top, right, bottom):
        self.inside, self.taken = (left, top, right, bottom), []

    def keep_clear(self, x, y, radius=5):
        self.taken.append((x - radius, y - radius, x + radius, y + radius))

    def is_free(self, box):
        left, top, right, bottom = self.inside
        return (box[0] >= left and box[1] >= top and box[2] <= right and box[3] <= bottom
                and not any(box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
                            for other in self.taken))

    def place(self, x, y, words):
        """The label's SVG, or nothing where there is no room for it."""
        width = CHARACTER * len(words)
        for dx, dy in ((8, 4), (8, -5), (8, 13), (-8 - width, 4), (-8 - width, -5), (-8 - width, 13),
                       (-width / 2, -9), (-width / 2, 18), (16, -14), (16, 22), (-16 - width, -14), (-16 - width, 22)):
            box = (x + dx, y + dy - LINE + 2, x + dx + width, y + dy + 2)
            if self.is_free(box):
                self.taken.append(box)
                return text(x + dx, y + dy, words, cls="label")
        return ""

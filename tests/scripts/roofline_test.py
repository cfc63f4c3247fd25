#!/usr/bin/env python3
"""The roofline of made-up reports: well-formed, every point inside and where its figures say."""

import pathlib
import re
import sys
import unittest
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from bench_reports import document, rows  # noqa: E402
from measure import chart, report, roofline  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"
TOP, BOTTOM = roofline.TOP, roofline.HEIGHT - roofline.BOTTOM


def drawn(*benchmarks, **context):
    return xml.etree.ElementTree.fromstring(roofline.svg(report.understood(document(*benchmarks, **context), "x"), "cpu"))


def points(root):
    """{name: (x, y, filled, colour)} of the markers that stand for benchmarks."""
    found = {}
    for path in root.iter(f"{SVG}path"):
        if path.get("class") == "point":
            x, y = map(float, re.fullmatch(r"translate\((\S+) (\S+)\)", path.get("transform")).groups())
            name = path.find(f"{SVG}title").text.splitlines()[0]
            found[name] = (x, y, path.get("fill") != "none", path.get("stroke"))
    return found


def decade(root, axis):
    """Pixels of a decade: the distance of neighbouring grid lines, which must all be equally far apart."""
    places = sorted({float(line.get(f"{axis}1")) for line in root.iter(f"{SVG}line") if line.get("class") == "grid"
                     and line.get(f"{axis}1") == line.get(f"{axis}2") and float(line.get("x1")) >= roofline.LEFT})
    gaps = [b - a for a, b in zip(places, places[1:])]
    assert max(gaps) - min(gaps) < 0.3, gaps
    return gaps[0]


def texts(root):
    return [text.text for text in root.iter(f"{SVG}text")]


class Roofline(unittest.TestCase):
    def test_has_a_point_for_each_benchmark_at_its_place(self):
        # 1 and 10 FLOP/byte; 1, 10 and 0.1 GFLOP/s.
        root = drawn(rows("gelu/forward/f32/a/cpu/warm", [1000], bytes=1e6, flop=1e6),
                     rows("matmul/forward/up/f32/a/cpu/warm", [1000], bytes=1e6, flop=1e7),
                     rows("gelu/forward/f32/b/cpu/cold", [10000], bytes=1e6, flop=1e6))
        found = points(root)
        self.assertEqual(len(found), 3)
        gelu, product, slow = (found[name] for name in ("gelu/forward/f32/a/cpu/warm", "matmul/forward/up/f32/a/cpu/warm",
                                                        "gelu/forward/f32/b/cpu/cold"))
        across, upwards = decade(root, "x"), decade(root, "y")
        self.assertAlmostEqual(product[0] - gelu[0], across, delta=0.3)
        self.assertAlmostEqual(gelu[1] - product[1], upwards, delta=0.3)
        self.assertAlmostEqual(slow[1] - gelu[1], upwards, delta=0.3)
        self.assertEqual((gelu[2], slow[2]), (True, False), "warm is filled, cold is hollow")
        self.assertEqual(gelu[3], slow[3])
        self.assertNotEqual(gelu[3], product[3], "families have colours")

    def test_keeps_extreme_points_inside(self):
        root = drawn(*(rows(f"add/f32/{i}/cpu/warm", [time], bytes=bytes, flop=flop) for i, (time, bytes, flop) in
                       enumerate(((1e-3, 1, 1e6), (1e9, 1e12, 1), (1, 1e3, 1e3), (5, 1e9, 1e9), (1, 10, 0), (1e6, 1, 0)))))
        found = points(root)
        self.assertEqual(len(found), 6)
        for name, (x, y, _, _) in found.items():
            left, right = (roofline.LEFT, roofline.RIGHT) if name < "add/f32/4" else (roofline.COPIES_LEFT, roofline.COPIES_RIGHT)
            self.assertTrue(left <= x <= right, (name, x))
            self.assertTrue(TOP <= y <= BOTTOM, (name, y))

    def test_has_the_measured_roofs(self):
        root = drawn(rows("add/f32/a/cpu/warm", [1000], bytes=2e7, flop=1e6))  # exactly the copy's 20 GB/s
        point = points(root)["add/f32/a/cpu/warm"]
        path = next(path.get("d") for path in root.iter(f"{SVG}path") if path.get("class") == "roof")
        x1, y1, x2, y2 = map(float, re.findall(r"[\d.]+", path))
        on_roof = y1 + (y2 - y1) * (point[0] - x1) / (x2 - x1)
        self.assertAlmostEqual(point[1], on_roof, delta=0.3)
        levels = {line.get("class"): float(line.get("y1")) for line in root.iter(f"{SVG}line")
                  if line.get("class") in ("roof", "gemm")}
        self.assertAlmostEqual(levels["roof"], y2, delta=0.2)
        self.assertGreater(levels["gemm"], levels["roof"], "the library's products lie below the bare arithmetic")
        self.assertIn("fma/f32: 200 GFLOP/s", texts(root))
        self.assertIn("slope: a copy, 20 GB/s", texts(root))

    def test_joins_cold_and_warm_of_a_benchmark(self):
        root = drawn(rows("add/f32/a/cpu/warm", [1], flop=1e6), rows("add/f32/a/cpu/cold", [9], flop=1e6))
        (pair,) = [line for line in root.iter(f"{SVG}line") if line.get("class") == "pair"]
        self.assertEqual(pair.get("x1"), pair.get("x2"))

    def test_leaves_out_tiny_sizes_among_others(self):
        tiny, real = rows("add/f32/tiny/cpu/warm", [1], flop=1e6), rows("add/f32/a/cpu/warm", [1], flop=1e6)
        self.assertEqual(set(points(drawn(tiny, real))), {"add/f32/a/cpu/warm"})
        self.assertEqual(set(points(drawn(tiny))), {"add/f32/tiny/cpu/warm"})

    def test_labels_are_inside_and_lie_on_no_other(self):
        root = drawn(*(rows(f"operation_{i}/f32/a/cpu/warm", [1 + 0.02 * i], flop=1e5 * (1 + i % 3)) for i in range(30)))
        boxes = [(float(text.get("x")), float(text.get("y")), len(text.text)) for text in root.iter(f"{SVG}text")
                 if text.get("class") == "label"]
        self.assertGreater(len(boxes), 3)
        for i, (x, y, length) in enumerate(boxes):
            self.assertTrue(roofline.LEFT <= x and x + length * chart.CHARACTER <= roofline.RIGHT and TOP <= y <= BOTTOM)
            for other_x, other_y, other_length in boxes[:i]:
                apart = (abs(y - other_y) >= chart.LINE or x + length * chart.CHARACTER <= other_x
                         or other_x + other_length * chart.CHARACTER <= x)
                self.assertTrue(apart)

    def test_words_of_a_report_are_text_and_nothing_else(self):
        root = drawn(rows("<b>&/f32/a/cpu/warm", [1], flop=1), cpu='A "<CPU>" & more')
        self.assertIn("<b>&/f32/a/cpu/warm", points(root))
        self.assertTrue(any('A "<CPU>" & more' in text for text in texts(root)))

    def test_needs_points_and_peaks(self):
        with self.assertRaisesRegex(roofline.NothingToDraw, "no benchmark of cuda"):
            roofline.svg(report.understood(document(rows("add/f32/a/cpu/warm", [1])), "x"), "cuda")
        without = document(rows("add/f32/a/cpu/warm", [1]))
        without["benchmarks"] = [row for row in without["benchmarks"] if not row["name"].startswith("peak")]
        with self.assertRaisesRegex(roofline.NothingToDraw, "no peaks of cpu"):
            roofline.svg(report.understood(without, "x"), "cpu")


class Units(unittest.TestCase):
    def test_have_prefixes(self):
        for value, expected in ((2.5e12, "2.5 TB/s"), (1e9, "1 GB/s"), (999, "999 B/s"), (9.997e8, "1 GB/s"), (0.5, "0.5 B/s")):
            self.assertEqual(chart.with_prefix(value, "B/s"), expected)


class Families(unittest.TestCase):
    def test_are_known_by_the_beginning_of_a_name(self):
        for name, family in (("linear_gelu/apart/f32", "matrix products"), ("onednn_sgemm/x", "matrix products"),
                             ("attention_cudnn/forward", "attention"), ("add/f32", "element by element"),
                             ("adder/f32", "others"), ("residual_layernorm/f32", "rows")):
            self.assertEqual(roofline.family_of(name), family, name)


if __name__ == "__main__":
    unittest.main()

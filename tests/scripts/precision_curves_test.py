#!/usr/bin/env python3
"""bench/precision_curves: what it reads, computes and draws, and a whole run with a program that only writes metrics."""

import importlib.machinery
import importlib.util
import math
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "bench" / "precision_curves"
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("precision_curves", str(SCRIPT))
curves = importlib.util.module_from_spec(importlib.util.spec_from_loader("precision_curves", loader))
loader.exec_module(curves)

# Trains nothing: the loss of window w is 3 - w / 10, in bf16 a hundredth more; one window is skipped in bf16.
TRAINER = """#!/usr/bin/env python3
import json, pathlib, sys
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
half = options["--precision"] == "bf16"
out = pathlib.Path(options["--out"])
out.mkdir()
with open(out / "metrics.jsonl", "w") as file:
    for window in range(int(options["--steps"]) + half):
        line = {"window": window, "update": window, "loss": 3 - window / 10 + half / 100}
        if half and window == 2: line["outcome"] = "skipped: the gradient is not finite"
        file.write(json.dumps(line) + "\\n")
"""


def polylines(svg):
    root = xml.etree.ElementTree.fromstring(svg)
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    return [[tuple(map(float, point.split(","))) for point in line.get("points").split()] for line in lines]


class Differences(unittest.TestCase):
    def test_are_over_the_windows_that_both_have(self):
        largest, mean, count = curves.differences({1: 2.0, 2: 3.0, 9: 5.0}, {1: 2.5, 2: 2.75, 3: 1.0})
        self.assertEqual((largest, mean, count), (0.5, 0.375, 2))

    def test_show_a_loss_that_is_not_a_number(self):
        self.assertTrue(all(map(math.isnan, curves.differences({1: math.nan, 2: 1.0}, {1: 1.0, 2: 1.0})[:2])))


class Figure(unittest.TestCase):
    def test_has_every_curve_inside_its_axes_and_a_falling_loss_falls(self):
        drawn = polylines(curves.svg({"a": {w: 5.5 - 0.01 * w for w in range(200)}, "b": {0: 4.0, 199: 2.0}}, "<title>"))
        self.assertEqual([len(points) for points in drawn], [200, 2])
        for x, y in drawn[0] + drawn[1]:
            self.assertTrue(curves.LEFT <= x <= curves.WIDTH - curves.RIGHT, x)
            self.assertTrue(curves.TOP <= y <= curves.HEIGHT - curves.BOTTOM, y)
        self.assertEqual(drawn[0][0], (curves.LEFT, curves.TOP))
        self.assertEqual(drawn[1][1], (curves.WIDTH - curves.RIGHT, curves.HEIGHT - curves.BOTTOM))

    def test_leaves_out_points_that_are_not_finite(self):
        self.assertEqual([len(points) for points in polylines(curves.svg({"a": {0: 1.0, 1: math.inf, 2: 2.0}}, "t"))], [2])
        with self.assertRaises(ValueError):
            curves.svg({"a": {0: math.nan}}, "t")

    def test_has_round_ticks(self):
        for low, high in ((2.1, 5.6), (0, 199), (5.51, 5.54), (0, 1e-4)):
            axis = curves.Axis([low, high], 0, 100, 5)
            ticks = axis.ticks()
            self.assertTrue(3 <= len(ticks) <= 14, ticks)
            self.assertTrue(low - 1e-9 <= ticks[0] and ticks[-1] <= high + 1e-9)
            self.assertIn(f"{axis.step:e}"[0], "125")


class WholeRun(unittest.TestCase):
    def test_trains_in_every_precision_and_reports_how_far_they_differ(self):
        with tempfile.TemporaryDirectory() as folder:
            trainer, out = pathlib.Path(folder, "gpt"), pathlib.Path(folder, "out")
            trainer.write_text(TRAINER)
            trainer.chmod(0o755)
            for _ in range(2):  # the second over the first's results
                done = subprocess.run([sys.executable, str(SCRIPT), "fp32", "bf16", "--gpt", str(trainer), "--text", "t",
                                       "--out", str(out), "--steps", "4", "--", "--layers", "1"],
                                      check=True, capture_output=True, text=True)
            self.assertIn("fp32: 4 windows, 0 skipped\n", done.stdout)
            self.assertIn("bf16: 5 windows, 1 skipped; |loss - fp32's|: largest 0.01, mean 0.01 over 4 windows", done.stdout)
            rows = (out / "curves.csv").read_text().split()
            self.assertEqual(rows[0], "window,fp32,bf16")
            self.assertEqual([row.split(",")[0] for row in rows[1:]], ["0", "1", "2", "3", "4"])
            self.assertTrue(rows[5].startswith("4,,"))
            self.assertEqual([len(points) for points in polylines((out / "curves.svg").read_text())], [4, 5])


if __name__ == "__main__":
    unittest.main()

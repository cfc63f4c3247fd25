#!/usr/bin/env python3
"""scripts/bench_compare on made-up reports: what is called a difference, and what it refuses to compare."""

import itertools
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from bench_reports import ROOT, document, peak_rows, rows, write  # noqa: E402
from measure import noise  # noqa: E402

NINE = [100, 101, 99, 100, 102, 98, 100, 101, 99]
SCRIPT = ROOT / "scripts" / "bench_compare"
ADD = "add/f32/tiny/cpu/warm"


def times(factor, of=None):
    return [factor * time for time in of or NINE]


class Intervals(unittest.TestCase):
    def test_are_those_of_the_published_tables(self):
        # Ranks of the 95 % interval of a median: Le Boudec, table A.1.
        for count, k in ((5, 0), (6, 1), (8, 1), (9, 2), (12, 3), (20, 6), (31, 10)):
            self.assertEqual(noise.rank(count), k, count)
        self.assertEqual(noise.fewest_repetitions(), 6)

    def test_of_nine_pass_over_one_outlier_at_each_end(self):
        self.assertEqual(noise.interval([5, 1, 9, 3, 4, 6, 2, 7, 1000]), (2, 9))

    def test_contain_the_median_of_a_skewed_distribution_often_enough(self):
        generator = random.Random(1)
        for count in (6, 9, 15):
            hits = 0
            for _ in range(2000):
                low, high = noise.interval([generator.lognormvariate(0, 1) for _ in range(count)])
                hits += low <= 1 <= high
            self.assertGreater(hits / 2000, 0.93, count)


class Verdicts(unittest.TestCase):
    def test_faster_slower_and_noise(self):
        for factor, verdict in ((1.2, noise.SLOWER), (0.8, noise.FASTER), (1.005, noise.NOISE), (1, noise.NOISE)):
            self.assertEqual(noise.compare(NINE, times(factor)).verdict, verdict, factor)

    def test_the_band_contains_the_ratio_and_is_that_of_the_reverse(self):
        there, back = noise.compare(NINE, times(1.1)), noise.compare(times(1.1), NINE)
        self.assertTrue(there.low < there.ratio < there.high)
        self.assertAlmostEqual(there.ratio * back.ratio, 1)
        self.assertAlmostEqual(there.low * back.high, 1)

    def test_one_disturbed_repetition_changes_nothing(self):
        self.assertEqual(noise.compare(NINE, [*NINE[:8], 5000]).verdict, noise.NOISE)
        self.assertEqual(noise.compare(NINE, [*times(1.2)[:8], 5000]).verdict, noise.SLOWER)

    def test_few_repetitions_are_not_judged(self):
        self.assertEqual(noise.compare(NINE, times(2)[:5]).verdict, noise.UNKNOWN)

    def test_the_same_noise_twice_is_seldom_a_difference(self):
        generator = random.Random(2)
        draw = lambda: [generator.lognormvariate(0, 0.1) for _ in range(9)]  # noqa: E731
        judged = [noise.compare(draw(), draw()).verdict for _ in range(2000)]
        self.assertLess(sum(verdict != noise.NOISE for verdict in judged) / len(judged), 0.02)


class Script(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def run_script(self, a, b, *options):
        paths = [write(self.folder.name, f"{name}.json", content) if not isinstance(content, pathlib.Path) else content
                 for name, content in (("a", a), ("b", b))]
        return subprocess.run([sys.executable, str(SCRIPT), *map(str, paths), *options], capture_output=True, text=True,
                              check=False)

    def line(self, done, name):
        return next(line for line in done.stdout.splitlines() if line.startswith(name))

    def test_marks_each_benchmark_and_sums_up(self):
        names = [f"{operation}/f32/tiny/cpu/warm" for operation in ("add", "scale", "gelu/forward")]
        a = document(*(rows(name, NINE) for name in names))
        b = document(*(rows(name, times(factor)) for name, factor in zip(names, (1.5, 0.5, 1))))
        done = self.run_script(a, b)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for name, words in zip(names, (("1.500", "slower"), ("0.500", "faster"), ("1.000", "within noise"))):
            self.assertTrue(all(word in self.line(done, name) for word in words), self.line(done, name))
        mean = statistics.geometric_mean([1.5, 0.5, 1])
        self.assertIn(f"of 3: 1 faster, 1 slower, 1 within noise; geometric mean of B / A {mean:.3f}", done.stdout)
        changes = self.run_script(a, b, "--changes")
        self.assertNotIn("gelu", changes.stdout)
        only = self.run_script(a, b, "--filter", "^scale")
        self.assertIn("of 1: 1 faster", only.stdout)

    def test_is_a_gate_on_request(self):
        a, b = document(rows(ADD, NINE)), document(rows(ADD, times(1.2)))
        self.assertEqual(self.run_script(a, b, "--fail-above", "30").returncode, 0)
        failed = self.run_script(a, b, "--fail-above", "10")
        self.assertEqual(failed.returncode, 1)
        self.assertIn(f"slower by more than 10 %: {ADD}", failed.stderr)
        self.assertEqual(self.run_script(b, a, "--fail-above", "0").returncode, 0, "faster is no failure")
        wide = [50, 60, 70, 80, 90, 100, 150, 200, 300]
        self.assertEqual(self.run_script(document(rows(ADD, wide)), document(rows(ADD, times(1.3, wide))),
                                         "--fail-above", "0").returncode, 0, "within the noise is no failure")

    def test_warns_of_machines_threads_and_compilers_that_differ(self):
        a, b = document(rows(ADD, NINE)), document(rows(ADD, NINE), cpu="Another", cpu_threads="8", compiler="clang 14")
        done = self.run_script(a, b)
        self.assertEqual(done.returncode, 0)
        for words in ("CPU differs: A CPU in A, Another in B", "number of threads differs", "compiler differs"):
            self.assertIn(words, done.stderr)

    def test_warns_of_a_machine_that_was_slower_as_a_whole(self):
        b = document(rows(ADD, times(1.2)))
        b["benchmarks"] = [*peak_rows(fma=0.8), *rows(ADD, times(1.2))]
        done = self.run_script(document(rows(ADD, NINE)), b)
        self.assertIn("fma/f32/cpu 0.80", done.stdout)
        self.assertIn("the machine itself was faster or slower", done.stdout)

    def test_says_what_one_report_has_alone_and_what_failed(self):
        broken = {"name": "scale/f32/tiny/cpu/warm", "run_type": "iteration", "error_occurred": True, "error_message": "no"}
        done = self.run_script(document(rows(ADD, NINE)), document(rows(ADD, NINE), rows("gelu", NINE), [broken]))
        self.assertIn("only B has 1 of the benchmarks", done.stderr)
        self.assertIn("in B there failed scale/f32/tiny/cpu/warm", done.stderr)

    def test_says_when_there_are_too_few_repetitions(self):
        done = self.run_script(document(rows(ADD, NINE)), document(rows(ADD, [300])), "--fail-above", "0")
        self.assertEqual(done.returncode, 0)
        self.assertIn("too few repetitions", done.stdout)

    def test_units_of_time_do_not_matter(self):
        b = document(rows(ADD, times(1e-3)))
        for row in b["benchmarks"]:
            if row["name"].startswith("add"):
                row["time_unit"] = "ms"
        self.assertIn("1.000", self.line(self.run_script(document(rows(ADD, NINE)), b), ADD))

    def expect_refused(self, content, code, *words):
        good = document(rows(ADD, NINE))
        for a, b in ((good, content), (content, good)):
            done = self.run_script(a, b)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            for word in words:
                self.assertIn(word, done.stderr)

    def test_refuses_what_is_no_report_in_one_line(self):
        whole = json.dumps(document(rows(ADD, NINE)))
        self.expect_refused(pathlib.Path(self.folder.name) / "none.json", 66, "none.json", "No such file")
        self.expect_refused(pathlib.Path(self.folder.name), 66, "directory")
        for text, word in ((whole[:len(whole) // 2], "measure again"), ("", "measure again"), ("[]", "not a benchmark report"),
                           ('{"context": {}}', "scripts/bench writes one"), ('{"context": 1, "benchmarks": []}', "not a"),
                           ('{"context": {}, "benchmarks": []}', "no benchmarks"),
                           ('{"context": {}, "benchmarks": [{"time": 1}]}', "no name"),
                           ('{"context": {}, "benchmarks": [1]}', "no name")):
            self.expect_refused(text, 65, word)

    def test_refuses_figures_that_are_none(self):
        for key, value in itertools.product(("real_time", "bytes_per_second"), ("fast", None, float("nan"), -1, True)):
            self.expect_refused(document([{**rows(ADD, [1])[0], key: value}]), 65, ADD, key)
        self.expect_refused(document([{**rows(ADD, [1])[0], "time_unit": "years"}]), 65, "years")
        self.expect_refused(document([{**rows(ADD, [1])[0], "real_time": 0}]), 65, "took no time")

    def test_refuses_aggregates_alone(self):
        self.expect_refused({"context": {}, "benchmarks": [rows(ADD, NINE)[-1]]}, 65, "--benchmark_report_aggregates_only")

    def test_refuses_reports_without_a_common_benchmark(self):
        done = self.run_script(document(rows(ADD, NINE)), document(rows("scale/f32/tiny/cpu/warm", NINE)))
        self.assertEqual(done.returncode, 2)
        self.assertIn("no benchmark in common", done.stderr)
        done = self.run_script(document(rows(ADD, NINE)), document(rows(ADD, NINE)), "--filter", "gelu")
        self.assertEqual(done.returncode, 2)
        self.assertIn("matches 'gelu'", done.stderr)

    def test_refuses_wrong_options(self):
        for options in (["--fail-above", "-1"], ["--fail-above", "x"], ["--fail"], ["--filter", "("], ["--nonsense"]):
            done = self.run_script(document(rows(ADD, NINE)), document(rows(ADD, NINE)), *options)
            self.assertEqual(done.returncode, 2, options)
            self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    unittest.main()

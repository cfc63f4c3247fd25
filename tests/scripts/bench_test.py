#!/usr/bin/env python3
"""scripts/bench: its options, and a whole run of the benchmarks of a build folder on operands that take no time.

    bench_test.py BUILD_FOLDER [unittest's arguments]
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from bench_reports import ROOT, document, rows, write  # noqa: E402
from gpu import sources  # noqa: E402
from measure import noise, report, table  # noqa: E402

BUILD = None
SCRIPT = ROOT / "scripts" / "bench"


def run_bench(*options):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, options)], capture_output=True, text=True, check=False)


class Condensed(unittest.TestCase):
    def test_keeps_every_round_as_a_repetition_and_no_name_of_the_host(self):
        rounds = [document(rows("b/f32/x/cpu/warm", [b]), rows("a/f32/x/cpu/warm", [a])) for a, b in ((1.23456789, 2), (4, 1))]
        kept = report.condensed(rounds, {"revision": "abc"}, ["a/f32/x/cpu/warm", "b/f32/x/cpu/warm"])
        text = report.text_of(kept)
        self.assertNotIn("secret", text)
        self.assertNotIn("/somewhere", text)
        self.assertEqual([row["name"].split("/")[0] for row in kept["benchmarks"]], ["peak"] * 8 + ["a", "a", "b", "b"])
        self.assertEqual([row["repetition_index"] for row in kept["benchmarks"]], [0, 1] * 6)
        self.assertEqual(kept["benchmarks"][8]["real_time"], 1.23457)
        with tempfile.TemporaryDirectory() as folder:
            read = report.load(write(folder, "x.json", text))
        self.assertEqual(len(read.series["b/f32/x/cpu/warm"].seconds), 2)
        self.assertEqual(read.peaks["copy/cpu"], 20e9)
        self.assertEqual(read.context["revision"], "abc")


class Kernels(unittest.TestCase):
    def test_each_has_a_benchmark(self):
        texts = "".join(path.read_text() for path in (ROOT / "bench").glob("*_bench.cpp"))
        missing = [operation for operation in sources.operations() if f'#include "kernels/{operation}.h"' not in texts]
        self.assertEqual(missing, [])


class Table(unittest.TestCase):
    def test_shows_time_noise_rates_and_percentages(self):
        read = report.understood(document(rows("add/f32/tiny/cpu/cold", [1000, 1100, 1050, 1000, 1100, 1050], 3e6, 1e6)), "x")
        self.assertEqual(table.cells(read.series["add/f32/tiny/cpu/cold"]),
                         ["add", "f32", "tiny", "cpu", "cold", "1.05 ms", "5 %", "2.86", "0.952", "50", ""])

    def test_shows_no_noise_where_none_is_known(self):
        read = report.understood(document(rows("add/f32/tiny/cpu/cold", [1000])), "x")
        self.assertEqual(table.cells(read.series["add/f32/tiny/cpu/cold"])[6], "")

    def test_durations_have_three_digits(self):
        for seconds, text in ((2.5, "2.5 s"), (0.0123, "12.3 ms"), (1.5e-5, "15 µs"), (4.56e-7, "456 ns"), (0.99999, "1,000 ms")):
            self.assertEqual(table.duration(seconds), text)


class Options(unittest.TestCase):
    def test_that_are_wrong_are_refused_before_anything_is_built(self):
        for options, word in ((["--device", "tpu"], "tpu"), (["--filter", "("], "regular expression"), (["--filter", ""], "filter"),
                              (["--filter=-x"], "begin"), (["--repetitions", "0"], "at least 1"), (["--min-time", "-1"], "seconds"),
                              (["--threads", "two"], "whole number"), (["--name", "a/b"], "letters"), (["--nonsense"], "nonsense"),
                              (["--quic"], "quic"), (["extra"], "extra"), (["--out", "x.txt"], ".json"),
                              (["--out", "x.json", "--name", "y"], "leave one out"), (["--build", "/no/such"], "/no/such")):
            done = run_bench(*options)
            self.assertEqual(done.returncode, 2, options)
            self.assertIn(word, done.stderr)
            self.assertNotIn("Traceback", done.stderr)

    def test_help_shows_the_commands(self):
        done = run_bench("--help")
        self.assertEqual(done.returncode, 0)
        for word in ("--quick", "--filter", "--device", "Exit code"):
            self.assertIn(word, done.stdout)


class WholeRun(unittest.TestCase):
    FILTER = "^(add|layernorm/forward|step_control|matmul/forward/up|dropout)/f32/tiny/"

    def test_prints_a_table_and_writes_a_report_and_a_roofline(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "new" / "tiny.json"
            done = run_bench("--build", BUILD, "--filter", self.FILTER, "--quick", "--min-time", "0.0005", "--out", out)
            self.assertEqual(done.returncode, 0, done.stderr)
            read = report.load(out)
            self.check_report(read)
            self.assertNotIn("host_name", out.read_text())
            for words in ("peak copy/cpu", "peak fma/f32/cpu", "peak gemm/f32/cpu", "layernorm/forward", "% of peak", "roofline: "):
                self.assertIn(words, done.stdout)
            figure = xml.etree.ElementTree.parse(out.with_suffix(".svg"))
            markers = [path for path in figure.iter("{http://www.w3.org/2000/svg}path") if path.get("class") == "point"]
            self.assertEqual(len(markers), sum(series.bytes > 0 for series in read.series.values()))
            compared = subprocess.run([sys.executable, str(ROOT / "scripts/bench_compare"), str(out), str(out), "--fail-above", "0"],
                                      capture_output=True, text=True, check=False)
            self.assertEqual((compared.returncode, compared.stderr), (0, ""))
            self.assertIn("of 10: 0 faster, 0 slower, 10 within noise", compared.stdout)

    def check_report(self, read):
        self.assertEqual(read.errors, {})
        self.assertEqual({name for name in read.peaks if "/bf16/" not in name},
                         {"copy/cpu", "update/cpu", "fma/f32/cpu", "gemm/f32/cpu"})
        self.assertEqual(sorted(read.series), sorted(f"{operation}/f32/tiny/cpu/{cache}" for cache in ("warm", "cold") for operation in
                         ("add", "layernorm/forward", "step_control", "matmul/forward/up", "dropout")))
        for series in read.series.values():
            self.assertGreaterEqual(len(series.seconds), noise.fewest_repetitions(), series.name)
        self.assertAlmostEqual(read.series["matmul/forward/up/f32/tiny/cpu/warm"].flop, 2 * 16 * 32 * 128, delta=2)
        self.assertTrue(read.series["matmul/forward/up/f32/tiny/cpu/cold"].of_gemm)
        for key in ("cpu", "instruction_set", "cpu_threads", "compiler", "build_type", "revision", "date", "last_level_cache"):
            self.assertTrue(read.context.get(key), key)

    def test_ctrl_c_keeps_the_rounds_that_were_done(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "x.json"
            process = subprocess.Popen([sys.executable, str(SCRIPT), "--build", str(BUILD), "--filter", "^add/f32/tiny/cpu/warm",
                                        "--repetitions", "1000", "--out", str(out)], start_new_session=True, text=True,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            self.addCleanup(process.stderr.close)
            while "round 1 of 1000" not in (line := process.stderr.readline()):
                self.assertIsNotNone(line or None, "it ended")
            os.killpg(process.pid, signal.SIGINT)
            self.assertIn("rounds, which are what the report has", process.stderr.read())
            self.assertEqual(process.wait(timeout=60), 130)
            (series,) = report.load(out).series.values()
            self.assertTrue(1 <= len(series.seconds) < 1000)

    def test_a_filter_that_matches_nothing_is_misuse_and_writes_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "x.json"
            done = run_bench("--build", BUILD, "--filter", "no_such_kernel", "--out", out)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("no_such_kernel", done.stderr)
            self.assertFalse(out.exists())

    def test_a_report_that_cannot_be_written_costs_no_measuring(self):
        with tempfile.TemporaryDirectory() as folder:
            blocked = write(folder, "file", "")
            done = run_bench("--build", BUILD, "--filter", self.FILTER, "--out", blocked / "x.json")
            self.assertEqual(done.returncode, 1)
            self.assertIn("--out names another file", done.stderr)

    def test_repeats_only_what_it_is_asked_to(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "x.json"
            done = run_bench("--build", BUILD, "--filter", "^add/f32/tiny/cpu/warm", "--repetitions", 2, "--threads", 1, "--out", out)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(out.read_text())["context"]["cpu_threads"], "1")
            self.assertEqual([len(series.seconds) for series in report.load(out).series.values()], [2])


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()

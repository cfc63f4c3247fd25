#!/usr/bin/env python3
"""scripts/gpu_check's own parts: what stops in time, what is read, what is recorded."""

import json
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from gpu import benchmarks, demos, facts, report, sanitizer, silicon, sources, tests  # noqa: E402
from gpu.process import FAILED, NOT_RUN, PASSED, STOPPED, Deadline, run  # noqa: E402
from gpu.result import Part  # noqa: E402


class Processes(unittest.TestCase):
    def test_tells_success_failure_and_absence(self):
        self.assertEqual(run(["true"], Deadline(20)).status, PASSED)
        failed = run(["sh", "-c", "echo why >&2; exit 3"], Deadline(20))
        self.assertEqual((failed.status, failed.exit_code, failed.output), (FAILED, 3, "why\n"))
        self.assertEqual(run(["/no/such/program"], Deadline(20)).status, FAILED)
        self.assertEqual(run(["true"], Deadline(0)).status, STOPPED)

    def test_stops_what_is_not_done_in_time_with_all_it_started(self):
        begin = time.monotonic()
        stopped = run(["sh", "-c", "echo begun; sleep 60 & sleep 60"], Deadline(0.5))
        self.assertEqual((stopped.status, stopped.exit_code, stopped.output), (STOPPED, None, "begun\n"))
        self.assertLess(time.monotonic() - begin, 30)

    def test_a_part_of_a_deadline_is_a_share_of_what_is_left(self):
        self.assertAlmostEqual(Deadline(100).part(0.25).left(), 25, delta=1)


class Results(unittest.TestCase):
    def test_a_part_is_as_bad_as_its_worst_line(self):
        for statuses, expected in (([PASSED, PASSED], PASSED), ([PASSED, STOPPED, FAILED], FAILED), ([], NOT_RUN),
                                   ([PASSED, STOPPED], STOPPED), ([NOT_RUN], NOT_RUN), ([STOPPED], STOPPED)):
            part = Part("x")
            for status in statuses:
                part.add("line", status)
            self.assertEqual(part.status(), expected, statuses)

    def test_a_skipped_line_is_no_failure(self):
        part = Part("x")
        part.add("a", PASSED)
        part.add("b", NOT_RUN)
        self.assertEqual(part.status(), PASSED)


class TestOutput(unittest.TestCase):
    def test_reads_googletests_report(self):
        case = {"name": "Sums", "result": "COMPLETED", "time": "0.25s"}
        cases = [case, {**case, "name": "Fails", "failures": [{"failure": "1 != 2"}]},
                 {**case, "name": "Waits", "result": "SKIPPED"}]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "report.json"
            path.write_text(json.dumps({"testsuites": [{"name": "Add", "testsuite": cases}]}))
            self.assertEqual(tests.cases_of_report(path),
                             [("Add.Sums", PASSED, 0.25, ""), ("Add.Fails", FAILED, 0.25, "1 != 2"),
                              ("Add.Waits", NOT_RUN, 0.25, "")])

    def test_names_the_case_in_which_a_program_died(self):
        output = "[ RUN      ] Add.Sums\n[       OK ] Add.Sums (12 ms)\n[ RUN      ] Add.Crashes\nsegmentation fault"
        cases = tests.cases_of_output(output, FAILED)
        self.assertEqual(cases[0], ("Add.Sums", PASSED, 0.012, ""))
        self.assertEqual(cases[1][:2], ("Add.Crashes", FAILED))


class Figures(unittest.TestCase):
    def test_reads_a_report_that_was_cut_short(self):
        whole = json.dumps({"benchmarks": [{"name": "add"}, {"name": "scale"}]}, indent=2)
        self.assertEqual([row["name"] for row in benchmarks.rows_of(whole)], ["add", "scale"])
        self.assertEqual([row["name"] for row in benchmarks.rows_of(whole[:whole.index('"scale"')])], ["add"])

    def test_shows_bytes_flop_and_share_of_the_peak(self):
        row = {"name": "add/f32/tiny/cuda/cold/manual_time", "time_unit": "us", "real_time": 2.5, "bytes_per_second": 3e12,
               "FLOP/s": 4e12, "%peak": 91.6}
        self.assertEqual(benchmarks.cells(row), ["add/f32/tiny/cuda/cold", "2.5", "3,000", "4.0", "92"])

    def test_a_loss_falls_only_if_it_ends_finite_and_lower(self):
        self.assertTrue(demos.fell([5.0] * 20 + [3.0] * 60)[0])
        self.assertFalse(demos.fell([5.0] * 20 + [4.9] * 60)[0])
        self.assertFalse(demos.fell([5.0] * 20 + [float("nan")] * 60)[0])


def tests_report(status, gpu="NVIDIA H100"):
    lines = [{"name": f"unit_tests: {suite}.Case", "status": status} for suite in sources.kernel_suites()]
    return {"date": "2026-01-02T03:04:05+00:00", "parts": [{"name": "tests", "lines": lines}],
            "facts": {"gpu": {"name": gpu, "compute_cap": "9.0"}, "cuda_device": gpu, "build": {"commit": "0123456789abcdef"}}}


class Silicon(unittest.TestCase):
    def test_every_kernel_begins_with_never(self):
        text = silicon.renewed("")
        for operation in sources.operations():
            self.assertIn(f"| `{operation}` | f32 | never |", text)

    def test_what_passed_is_recorded_and_stays(self):
        text = silicon.renewed("", tests_report(PASSED))
        self.assertIn("| `add` | bf16 | NVIDIA H100 | 0123456789 | 2026-01-02 |", text)
        self.assertEqual(silicon.renewed(text), text)
        self.assertEqual(silicon.renewed(text, tests_report(FAILED, "another GPU")), text)

    def test_skipped_tests_prove_nothing(self):
        self.assertEqual(silicon.renewed("", tests_report(NOT_RUN)), silicon.renewed(""))

    def test_the_record_in_the_tree_lists_what_the_sources_have(self):
        self.assertEqual(silicon.FILE.read_text(), silicon.renewed(silicon.FILE.read_text()),
                         "run scripts/gpu_check --refresh")

    def test_every_operation_has_suites(self):
        for operation in sources.operations():
            self.assertTrue(sources.suites(operation), operation)

    def test_every_wrapper_is_named_and_used(self):
        for wrapper in sources.ptx_wrappers():
            self.assertNotEqual(wrapper.function, "?", wrapper.file)
            self.assertTrue(wrapper.instructions and wrapper.operations, f"{wrapper.file}: {wrapper.function}")

    def test_a_body_for_older_gpus_is_not_proven_by_a_newer_one(self):
        row = silicon.Row(["`f` below sm_80"], ["Add"], below=800)
        for capability, expected in (("9.0", False), ("8.0", False), ("7.5", True)):
            report = {"facts": {"gpu": {"compute_cap": capability}}}
            self.assertEqual(silicon.is_proven(row, report, {"Add"}), expected, capability)


class Facts(unittest.TestCase):
    def test_the_emulated_device_is_no_gpu(self):
        self.assertTrue(facts.is_gpu({"cuda_device": "NVIDIA H100 80GB HBM3, compute capability 9.0, 79.1 GiB"}))
        self.assertFalse(facts.is_gpu({"cuda_device": "Accrue emulated device, compute capability 9.0, 1.0 GiB"}))
        self.assertFalse(facts.is_gpu({"cuda_device": None}))

    def test_a_gpu_that_the_programs_cannot_use_is_told_from_none(self):
        seen = {"name": "NVIDIA A100", "driver_version": "570.1"}
        self.assertTrue(facts.is_unusable({"cuda_device": None, "gpu": seen}))
        self.assertFalse(facts.is_unusable({"cuda_device": "NVIDIA A100", "gpu": seen}))
        self.assertFalse(facts.is_unusable({"cuda_device": None, "gpu": {}}))

    def test_a_gpu_is_known_without_nvidia_smi(self):
        self.assertEqual(facts.of_description("NVIDIA H100, compute capability 9.0, 79.1 GiB"),
                         {"name": "NVIDIA H100", "compute_cap": "9.0", "memory.total": "79.1 GiB"})
        self.assertEqual(facts.of_description(None), {})


class Sanitizer(unittest.TestCase):
    def test_a_tool_that_refuses_the_device_is_told_from_one_that_found_errors(self):
        refusal = "========= Error: Target application device is not supported\n"
        self.assertTrue(sanitizer.refuses_the_device(refusal))
        self.assertFalse(sanitizer.refuses_the_device("Invalid read\n========= ERROR SUMMARY: 1 error\n"))
        self.assertFalse(sanitizer.refuses_the_device(refusal + "========= ERROR SUMMARY: 0 errors\n"))


class Arguments(unittest.TestCase):
    """A path or word that cannot be right is refused before anything is built or written."""

    def expect_refused(self, arguments, code, *words):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "out"
            done = subprocess.run([sys.executable, ROOT / "scripts/gpu_check", "--out", out, *arguments],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, code, done.stderr)
            for word in words:
                self.assertIn(word, done.stderr)
            self.assertFalse(list(out.glob("*")) if out.exists() else [])

    def test_paths_where_nothing_is(self):
        self.expect_refused(["--bundle", "/no/such.tar.xz"], 1, "/no/such.tar.xz", "no such bundle")
        self.expect_refused(["--binaries", "/no/such"], 1, "/no/such/accrue_bench", "bin/")
        self.expect_refused(["--record", "/no/such.json"], 1, "/no/such.json", "no such report")

    def test_parts_that_do_not_exist(self):
        self.expect_refused(["--only", "tests,demo"], 2, "demo", "demos")

    def test_a_report_of_no_gpu_proves_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "report.json"
            path.write_text(json.dumps({"facts": {"cuda_device": None}}))
            self.expect_refused(["--record", path], 1, "not the report of a GPU")


class Report(unittest.TestCase):
    def test_tells_failures_and_what_was_left_out(self):
        part = Part("tests", tables={"kernels": [["benchmark", "GB/s"], ["add", "3,000"]]})
        part.add("unit_tests: Add.Sums", FAILED, 0.1, "1 | 2\nsecond line")
        build = {"commit": "abc", "built": "here"}
        found = {"cuda_device": "NVIDIA H100", "why_no_device": "", "gpu": {}, "toolkit": "", "compute_sanitizer": "",
                 "torch": "", "processor": "", "system": "", "build": build}
        text = report.markdown({"date": "now", "facts": found, "asked": ["tests"], "all_parts": ["tests", "peers"],
                                "parts": [part.as_json()]})
        self.assertIn("| unit_tests: Add.Sums | **FAILED** | 0.1 | 1 \\| 2 second line |", text)
        self.assertIn("Not asked for: peers.", text)
        self.assertIn("| add | 3,000 |", text)


if __name__ == "__main__":
    unittest.main()

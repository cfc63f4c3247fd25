"""The tests, on the device that is here: each suite in a process of its own, so that a kernel which breaks the device's
context costs its own suite alone."""

import concurrent.futures
import json
import pathlib
import re

from gpu.process import FAILED, NOT_RUN, PASSED, Deadline, run
from gpu.result import Part

SIDE_BY_SIDE = 4
THREADS = "4"  # of each process's CPU kernels


def suites_of(installation, program):
    """Names of a test program's suites."""
    listed = run([installation.program(program), "--gtest_list_tests"], Deadline(120), installation.environment())
    names = [line[:-1] for line in re.findall(r"^\w[\w/]*\.", listed.output, re.MULTILINE)]
    return list(dict.fromkeys(names))


def cases_of_report(path):
    """(name, status, milliseconds, first failure) of every case of gtest's JSON."""
    cases = []
    for suite in json.loads(pathlib.Path(path).read_text())["testsuites"]:
        for case in suite["testsuite"]:
            if case.get("result") == "SKIPPED":
                status = NOT_RUN
            else:
                status = FAILED if case.get("failures") else PASSED
            reason = case["failures"][0]["failure"] if case.get("failures") else ""
            cases.append((f"{suite['name']}.{case['name']}", status, float(case["time"].rstrip("s")), reason))
    return cases


def cases_of_output(output, status):
    """The same from what was printed, for a program that did not come to its end: what it was in has `status`."""
    cases, running = [], None
    for line in output.splitlines():
        if found := re.match(r"\[ RUN      \] (\S+)", line):
            running = found[1]
        elif found := re.match(r"\[ +(OK|FAILED|SKIPPED) +\] ([\w/.]+) \((\d+) ms\)", line):
            outcome = {"OK": PASSED, "FAILED": FAILED, "SKIPPED": NOT_RUN}[found[1]]
            cases.append((found[2], outcome, int(found[3]) / 1e3, ""))
            running = None
    if running:
        cases.append((running, status, 0, "\n".join(output.splitlines()[-8:])))
    return cases


def run_suite(installation, program, suite, deadline, folder):
    report = folder / f"{program}-{suite.replace('/', '-')}.json"
    done = run([installation.program(program), f"--gtest_filter={suite}.*", f"--gtest_output=json:{report}"], deadline,
               installation.environment(OMP_NUM_THREADS=THREADS))
    try:
        cases = cases_of_report(report)
    except (OSError, ValueError):
        cases = cases_of_output(done.output, done.status)
    if done.status != PASSED and all(status == PASSED for _, status, _, _ in cases):
        cases.append((f"{suite}.*", done.status, done.seconds, done.last_lines(8)))
    return cases


def check(context, deadline):
    part = Part("tests")
    folder = context.out / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(program, suite) for program in ("unit_tests", "contract_tests")
            for suite in suites_of(context.installation, program)
            if not context.suites or re.search(context.suites, suite)]
    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        results = pool.map(lambda job: run_suite(context.installation, *job, deadline, folder), jobs)
        for (program, _), cases in zip(jobs, results):
            for name, status, seconds, reason in cases:
                part.add(f"{program}: {name}", status, seconds, reason[:2000])
    if not part.lines:
        part.add("unit_tests", FAILED, detail="no suite was listed")
    part.note = f"{SIDE_BY_SIDE} processes side by side, a suite each"
    return part

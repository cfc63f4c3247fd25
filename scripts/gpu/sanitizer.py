"""compute-sanitizer over the tests of the kernels: accesses out of bounds, races in shared memory, uses of memory that
nobody wrote. Every block comes from the device alone, so that its bounds are those of its tensor."""

import concurrent.futures
import re
import shutil

from gpu import sources
from gpu.process import FAILED, PASSED, run
from gpu.result import Part
from gpu.tests import suites_of

TOOLS = {
    "memcheck": ["--leak-check", "no"],
    "racecheck": ["--racecheck-report", "all"],
    "initcheck": ["--track-unused-memory", "no"],
}
SIDE_BY_SIDE = 4
FOUND = 99  # the exit code for errors that the tool found


def command(tool, installation, suite):
    return ["compute-sanitizer", "--tool", tool, *TOOLS[tool], "--error-exitcode", str(FOUND), "--print-limit", "10",
            installation.program("unit_tests"), f"--gtest_filter={suite}.*", "--gtest_brief=1"]


def summary(output):
    lines = re.findall(r"^=========.*(?:SUMMARY|Error|Race|hazard|Uninitialized|Invalid).*$", output, re.MULTILINE)
    return "\n".join(dict.fromkeys(lines[:6] + lines[-1:]))


def refuses_the_device(output):
    """Whether the tool ended before it ran anything, as it does on devices and drivers that it does not know."""
    return "not supported" in output and "SUMMARY:" not in output


def check(context, deadline):
    part = Part("sanitizer")
    if not shutil.which("compute-sanitizer"):
        part.note = "compute-sanitizer is not here"
        return part
    here = set(suites_of(context.installation, "unit_tests"))
    suites = [suite for suite in sources.kernel_suites()
              if suite in here and (not context.suites or re.search(context.suites, suite))]
    environment = context.installation.environment(ACCRUE_ALLOCATOR="direct", ACCRUE_TEST_DEVICES="cuda",
                                                   OMP_NUM_THREADS="2")
    jobs = [(tool, suite) for tool in TOOLS for suite in suites]

    def run_one(job):
        return run(command(job[0], context.installation, job[1]), deadline, environment)

    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for (tool, suite), done in zip(jobs, pool.map(run_one, jobs)):
            if refuses_the_device(done.output):
                part.note = "compute-sanitizer does not work with this device: " + done.last_lines(2)
                return part
            # A test that fails, as one may whose patience the tool's slowness exceeds, is for the part "tests" to tell.
            clean = done.exit_code != FOUND and re.search(r"SUMMARY: 0 (errors|hazards)", done.output)
            status = done.status if done.exit_code is None else PASSED if clean else FAILED
            part.add(f"{tool}: {suite}", status, done.seconds,
                     "" if status == PASSED else summary(done.output) or done.last_lines(6))
    part.note = "initcheck also reports what cuBLASLt does inside its own kernels; read its lines before believing them"
    return part

"""Whether the programs start, and what they say without a device."""

from gpu.installation import PROGRAMS
from gpu.process import FAILED, PASSED, Deadline, run
from gpu.result import Part

HELP = {"gpt": "--help", "mlp": "--help", "unit_tests": "--gtest_list_tests", "contract_tests": "--gtest_list_tests",
        "accrue_bench": "--benchmark_list_tests"}
NO_DEVICE = 69  # docs/exit-codes.md


def check(context, deadline):
    part = Part("programs")
    for name in PROGRAMS:
        done = run([context.installation.program(name), HELP[name]], Deadline(min(120, deadline.left())),
                   context.installation.environment())
        part.add(f"{name} starts", done.status, done.seconds, "" if done.status == PASSED else done.last_lines(5))
    if context.facts["cuda_device"] is None:
        part.add(*without_device(context, deadline))
    return part


def without_device(context, deadline):
    """`--device cuda` must end with the documented exit code and one line that says why."""
    done = run([context.installation.program("gpt"), "train", "--device", "cuda", "--text", __file__, "--out",
                context.out / "without-device", "--steps", "1"], deadline, context.installation.environment())
    right = done.exit_code == NO_DEVICE and len(done.output.strip().splitlines()) == 1
    return ("gpt train --device cuda: exit code 69, no device", PASSED if right else FAILED, done.seconds,
            f"exit code {done.exit_code}: {done.last_lines(3)}")

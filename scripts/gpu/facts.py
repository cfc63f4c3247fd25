"""What is here: the GPU, its driver, the toolkit, the tools."""

import json
import platform
import re
import shutil
import sys

from gpu.process import PASSED, Deadline, run

QUERY = ["name", "driver_version", "compute_cap", "memory.total", "power.limit", "clocks.max.sm", "clocks.max.memory"]


def of_nvidia_smi():
    """The first GPU as the driver describes it, or an empty dictionary."""
    if not shutil.which("nvidia-smi"):
        return {}
    asked = run(["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader", "--id=0"], Deadline(30))
    values = [value.strip() for value in asked.output.strip().split(",")]
    return dict(zip(QUERY, values)) if asked.status == PASSED and len(values) == len(QUERY) else {}


def of_description(device):
    """The same, as far as Accrue's own description goes: "NVIDIA H100, compute capability 9.0, 79.1 GiB"."""
    found = re.match(r"(.+), compute capability ([\d.]+), (.+)", device or "")
    return dict(zip(("name", "compute_cap", "memory.total"), found.groups())) if found else {}


def first_match(command, word):
    """The first line of a command's output with this word."""
    if not shutil.which(command[0]):
        return "not here"
    lines = run(command, Deadline(60)).output.splitlines()
    return next((line.strip() for line in lines if word in line), "unknown")


def torch_version():
    done = run([sys.executable, "-c", "import torch; print(torch.__version__)"], Deadline(120), keep_errors_apart=True)
    return done.output.strip() if done.status == PASSED else "not here"


def cuda_device(installation):
    """(description of the CUDA device that the programs see, or None; else why they see none)."""
    done = run([installation.program("accrue_bench"), "--benchmark_filter=^peak/copy/", "--benchmark_format=json"],
               Deadline(120), installation.environment(), keep_errors_apart=True)
    try:
        report = json.loads(done.output)
        seen = report["context"]["cuda"]
    except (ValueError, KeyError):
        return None, done.last_lines(3)  # it did not start, or is of another version
    return (seen, "") if any("/cuda" in row["name"] for row in report["benchmarks"]) else (None, seen)


def collect(installation):
    """Everything a reader needs to know of the place where the figures were taken."""
    device, reason = cuda_device(installation)
    return {
        "cuda_device": device,
        "why_no_device": reason,
        "gpu": of_nvidia_smi() or of_description(device),
        "toolkit": first_match(["nvcc", "--version"], "release"),
        "compute_sanitizer": first_match(["compute-sanitizer", "--version"], "ersion"),
        "torch": torch_version(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": first_match(["lscpu"], "Model name").removeprefix("Model name:").strip(),
        "build": installation.build,
    }


def is_unusable(facts):
    """Whether the driver shows a GPU here that the programs cannot use."""
    return facts["cuda_device"] is None and "driver_version" in facts["gpu"]


def is_gpu(facts):
    """A real GPU, as opposed to the emulated device."""
    return facts["cuda_device"] is not None and "emulated" not in facts["cuda_device"].lower()

"""GPT-2 124M beside PyTorch: bench/peers/gpt2_gpu.py, within the time that is left."""

import json
import os
import sys

from gpu.process import FAILED, NOT_RUN, PASSED, STOPPED, Deadline, run
from gpu.result import Part

TINY = ["--layers", 1, "--heads", 2, "--width", 32, "--context", 16, "--micro-batch", 2, "--accumulation", 2,
        "--vocab", 256, "--steps", 2]


def product_peak(context):
    """FLOP/s of bf16 products, as the part "benchmarks" measured it, or None."""
    try:
        figures = json.loads((context.out / "benchmarks.json").read_text())
    except (OSError, ValueError):
        return None
    return next((row["FLOP/s"] for row in figures if row["name"].startswith("peak/products/bf16")), None)


def status_of(figures):
    if figures["runs"]:
        return PASSED
    return NOT_RUN if not figures["error"] else STOPPED if figures["error"].startswith("stopped") else FAILED


def check(context, deadline):
    part = Part("peers")
    has_torch = context.facts["torch"] != "not here"
    if context.installation.text() is None:
        part.note = "the text data/kjv.txt is not here; scripts/demo makes it"
        return part
    report = context.out / "peers.json"
    peak = product_peak(context)
    # For our program alone: PyTorch brings CUDA libraries of its own.
    libraries = context.installation.environment().get("LD_LIBRARY_PATH", "")
    # What is being measured when the time is up is lost; what was measured before is in the report.
    done = run([sys.executable, context.installation.root / "bench" / "peers" / "gpt2_gpu.py", "--binary",
                context.installation.program("gpt"), "--text", context.installation.text(), "--json", report,
                "--minutes", f"{deadline.left() / 60:.2f}", *(TINY if context.tiny else []),
                *(["--peak", peak] if peak else []), *([] if has_torch else ["--sides", "ours,epilogues"])],
               Deadline(deadline.left() + 15), {**os.environ, "ACCRUE_LIBRARY_PATH": libraries})
    if not report.exists():
        part.add("gpt2_gpu.py", done.status if done.status != PASSED else FAILED, done.seconds, done.last_lines())
        return part
    result = json.loads(report.read_text())
    part.tables["GPT-2"] = result["table"]
    for side, figures in result["sides"].items():
        detail = [f"{figures['median']:,.0f} tokens/s, {len(figures['runs'])} runs"] if figures["runs"] else []
        part.add(side, status_of(figures), 0, "; ".join([*detail, *filter(None, [figures["error"]])]))
    if not has_torch:
        part.note = "PyTorch is not here: Accrue alone"
    return part

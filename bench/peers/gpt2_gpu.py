#!/usr/bin/env python3
"""GPT-2 124M on a GPU: tokens a second of `gpt train` beside PyTorch's, eager and compiled, in alternation.

The same model, micro-batch, accumulation and text on every side; bf16 products with f32 weights, fused AdamW, PyTorch's
scaled_dot_product_attention; Accrue with and without GELU and bias gradients in the products. Every round runs each
side once; the ratios are those of a round's neighbours.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from compare import HERE, ROOT, Row, WARMUP_STEPS, flop_per_position, median_throughput

SIDES = {"ours": "Accrue", "epilogues": "Accrue, --epilogues all", "eager": "PyTorch", "compiled": "PyTorch, torch.compile"}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "build/cuda/bin/gpt",
                        help="Accrue's gpt program (default: %(default)s)")
    parser.add_argument("--text", required=True, help="text for all sides, read as bytes")
    for name, default, meaning in (("layers", 12, "transformer blocks"), ("heads", 12, "attention heads"),
                                   ("width", 768, "residual width"), ("context", 1024, "tokens in a sample"),
                                   ("micro-batch", 8, "samples in one forward/backward"),
                                   ("accumulation", 4, "micro-batches in one step"), ("vocab", 50257, "vocabulary"),
                                   ("steps", 20, "timed steps of a run"), ("rounds", 3, "runs of each side")):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} (default: %(default)s)")
    parser.add_argument("--sides", default=",".join(SIDES), help="comma-separated (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=10, help="begin no run after this time (default: %(default)s)")
    parser.add_argument("--peak", type=float, help="FLOP/s of bf16 products, to give the fraction that is reached")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write all figures to this file, too")
    return parser.parse_args()


def model_options(arguments):
    names = ("layers", "heads", "width", "context", "micro_batch", "accumulation", "vocab")
    return [part for name in names for part in (f"--{name.replace('_', '-')}", getattr(arguments, name))]


class Failure(Exception):
    """A run that did not give a figure."""


def run(command, seconds, **environment):
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=seconds,
                              env={**os.environ, **environment})
    except subprocess.TimeoutExpired:
        raise Failure(f"stopped after {seconds:.0f} s") from None
    except OSError as error:
        raise Failure(str(error)) from None
    if done.returncode != 0:
        raise Failure(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-800:]}")
    return done.stdout


def run_ours(arguments, seconds, *options):
    # Where our program's shared libraries are, which PyTorch must not find (scripts/gpu_check sets it).
    libraries = os.environ.get("ACCRUE_LIBRARY_PATH", os.environ.get("LD_LIBRARY_PATH", ""))
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        run([arguments.binary, "train", "--device", "cuda", "--precision", "bf16", "--text", arguments.text,
             *model_options(arguments), "--steps", arguments.steps + WARMUP_STEPS, "--validation-fraction", 0,
             "--clip", 1, "--out", out, *options], seconds, LD_LIBRARY_PATH=libraries)
        return median_throughput(out / "metrics.jsonl")


def run_pytorch(arguments, seconds, *options):
    output = run([sys.executable, HERE / "gpt_step.py", "--device", "cuda", "--precision", "bf16", "--text",
                  arguments.text, *model_options(arguments), "--steps", arguments.steps, "--warmup-steps",
                  WARMUP_STEPS + 4, "--json", *options], seconds)  # torch.compile compiles some graphs twice
    return json.loads(output)["tokens_per_second"]


RUNS = {
    "ours": run_ours,
    "epilogues": lambda arguments, seconds: run_ours(arguments, seconds, "--epilogues", "all"),
    "eager": run_pytorch,
    "compiled": lambda arguments, seconds: run_pytorch(arguments, seconds, "--compile"),
}


class Side:
    def __init__(self):
        self.runs, self.error = [], ""

    def median(self):
        return statistics.median(self.runs) if self.runs else None


def table(sides, arguments):
    """A heading and a row for each side that ran."""
    row = Row("gpt2", arguments.layers, arguments.heads, arguments.width, arguments.context, arguments.micro_batch,
              arguments.accumulation, vocab=arguments.vocab)
    flop = flop_per_position(row)
    rows = [["side", "tokens/s", "TFLOP/s", "of the bf16 product peak", "Accrue ÷ this, median", "round by round"]]
    for name, side in sides.items():
        if not side.runs:
            continue
        is_peer = "ours" in sides and name != "ours"
        ratios = [ours / theirs for ours, theirs in zip(sides["ours"].runs, side.runs)] if is_peer else []
        rows.append([SIDES[name], f"{side.median():,.0f}", f"{side.median() * flop * 1e-12:.1f}",
                     f"{100 * side.median() * flop / arguments.peak:.0f} %" if arguments.peak else "–",
                     f"{statistics.median(ratios):.2f}" if ratios else "–",
                     " ".join(f"{ratio:.2f}" for ratio in ratios)])
    return rows


def write(sides, arguments):
    if arguments.json:
        report = {"config": {key: str(value) for key, value in vars(arguments).items()}, "table": table(sides, arguments),
                  "sides": {name: {"runs": side.runs, "median": side.median(), "error": side.error}
                            for name, side in sides.items()}}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def main():
    arguments = parse()
    end = time.monotonic() + 60 * arguments.minutes
    wanted = arguments.sides.split(",")
    unknown = [name for name in wanted if name not in SIDES]
    if unknown:
        raise SystemExit(f"unknown sides {', '.join(unknown)}; there are {', '.join(SIDES)}")
    sides = {name: Side() for name in wanted}
    write(sides, arguments)
    for number in range(arguments.rounds):
        for name, side in sides.items():
            seconds = end - time.monotonic()
            if seconds <= 0 or side.error:
                continue
            try:
                side.runs.append(RUNS[name](arguments, seconds))
                print(f"round {number + 1}: {SIDES[name]}: {side.runs[-1]:,.0f} tokens/s", file=sys.stderr)
            except Failure as failure:
                side.error = str(failure)  # no more of it: rounds that lack a side would have no ratio
                print(f"round {number + 1}: {SIDES[name]}: {failure}", file=sys.stderr)
            write(sides, arguments)
    for cells in table(sides, arguments):
        print("| " + " | ".join(cells) + " |")
    return 1 if any(not side.runs for side in sides.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

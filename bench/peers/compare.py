#!/usr/bin/env python3
"""Accrue against PyTorch on the same work: runs the two in alternation and prints the ratio pair by pair.

A machine's speed drifts over minutes, so single figures taken at different times compare little; the ratio of two
neighbouring runs does. A ratio above 1 means that Accrue is faster.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WARMUP_STEPS = 4  # left out of every median
MLP_WIDTHS = [784, 512, 512, 10]


@dataclasses.dataclass
class Row:
    """One line of the table: a GPT configuration and the steps of a run; without layers the MLP or AdamW alone."""

    name: str
    layers: int = 0
    heads: int = 0
    width: int = 0
    context: int = 0
    micro_batch: int = 128
    accumulation: int = 1
    steps: int = 3  # timed ones; epochs for the MLP
    vocab: int = 256


ROWS = [
    Row("small-k1", 4, 4, 128, 64, 12, 1, steps=100),
    Row("small-k4", 4, 4, 128, 64, 12, 4, steps=30),
    Row("medium-k1", 6, 6, 384, 256, 8, 1, steps=8),
    Row("medium-k4", 6, 6, 384, 256, 8, 4, steps=4),
    Row("gpt2-k1", 12, 12, 768, 64, 4, 1, steps=6, vocab=50257),
    Row("gpt2-k4", 12, 12, 768, 64, 4, 4, steps=3, vocab=50257),
    Row("mlp"),
    Row("adamw", steps=20),
]
ADAMW_BYTES = 28  # a parameter: weight, gradient, m and v read, weight, m and v written
ADAMW = "^optimizer/adamw/f32/gpt2_124m/cpu/warm"  # the benchmark of accrue_bench


def flop_per_position(row):
    """FLOP of forward and backward per token or image: matrix products and attention's causal half, nothing else.

    A weight is multiplied and added once forward and twice backward, but for the input's gradient of a first layer.
    A token attends to (T + 1) / 2 others on average: two products of the width forward, and the five of the backward
    that recomputes the probabilities.
    """
    if not row.layers:
        weights = [a * b for a, b in zip(MLP_WIDTHS, MLP_WIDTHS[1:])]
        return 6 * sum(weights) - 2 * weights[0]
    weights = row.layers * 12 * row.width**2 + row.width * row.vocab
    return 6 * weights + row.layers * 7 * 2 * row.width * (row.context + 1) / 2


class Skip(Exception):
    """A row that cannot be run here; the message says why."""


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "build/release/bin/gpt",
                        help="Accrue's gpt program; mlp is taken from the same folder (default: %(default)s)")
    parser.add_argument("--text", help="text for both sides, read as bytes (needed by all rows but mlp and adamw)")
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="Fashion-MNIST for the mlp row")
    parser.add_argument("--rows", default=",".join(row.name for row in ROWS),
                        help="comma-separated rows (default: all: %(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of runs in every row (default: %(default)s)")
    parser.add_argument("--python", default=sys.executable, help="Python with the PyTorch to compare with")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads on both sides (default: %(default)s)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of both sides (default: fp32)")
    parser.add_argument("--compile", action="store_true", help="torch.compile PyTorch's model")
    parser.add_argument("--json", metavar="FILE", help="write all figures to this file, too")
    return parser.parse_args()


def run(command):
    """Run a command and return its standard output; a failure shows the end of its standard error."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\nfailed with status {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def median_throughput(metrics):
    """Median of the updates' tokens (or images) per second in a metrics.jsonl, without the first few."""
    rates = []
    for line in metrics.read_text().splitlines():
        record = json.loads(line)
        rate = next((record[key] for key in ("tokens_per_second", "samples_per_second") if record.get(key)), None)
        if rate is not None:
            rates.append(rate)
    if len(rates) <= WARMUP_STEPS:
        raise SystemExit(f"{metrics} has {len(rates)} updates with a throughput; more than {WARMUP_STEPS} are needed")
    return statistics.median(rates[WARMUP_STEPS:])


def run_ours(binary, command):
    """Run one of Accrue's training commands in a folder of its own and return its throughput."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        run([binary, "train", *command, "--out", out])
        return median_throughput(out / "metrics.jsonl")


def bench_rows(arguments, pattern, *options):
    """What accrue_bench reports for the benchmarks that match, or nothing where it was not built."""
    program = arguments.binary.with_name("accrue_bench")
    if not program.exists():
        return []
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    report = subprocess.run([program, f"--benchmark_filter={pattern}", "--benchmark_format=json", *options],
                            env=environment, capture_output=True, text=True, check=True).stdout
    return json.loads(report)["benchmarks"]


def peak(arguments, row):
    """The machine's peak at this moment: bytes/s of an update for AdamW, else FLOP/s of multiply-adds; None without
    the benchmark program."""
    dtype = "bf16" if arguments.precision == "bf16" else "f32"
    rows = bench_rows(arguments, "^peak/update/cpu" if row.name == "adamw" else f"^peak/fma/{dtype}/cpu")
    return next((rows[0][key] for key in ("bytes/s", "FLOP/s") if rows and key in rows[0]), None)


def supports(binary, option):
    done = subprocess.run([str(binary), "train", "--help"], capture_output=True, text=True)
    return option in done.stdout + done.stderr


def model_options(row):
    return ["--layers", row.layers, "--heads", row.heads, "--width", row.width, "--context", row.context,
            "--micro-batch", row.micro_batch, "--accumulation", row.accumulation]


def gpt_sides(row, arguments):
    """Two functions, ours and PyTorch's, that each run the row once and return tokens per second. bf16 is autocast on
    their side, products in bf16 on ours."""
    if not arguments.text:
        raise Skip("needs --text")
    options = [*model_options(row), "--threads", arguments.threads, "--text", arguments.text, "--precision",
               arguments.precision]
    ours = [*options, "--steps", row.steps + WARMUP_STEPS, "--validation-fraction", 0]
    if row.vocab != 256:
        if not supports(arguments.binary, "--vocab"):
            raise Skip(f"{arguments.binary.name} has no --vocab")
        ours += ["--vocab", row.vocab]
    theirs = [arguments.python, HERE / "gpt_step.py", *options, "--steps", row.steps, "--warmup-steps", WARMUP_STEPS,
              "--vocab", row.vocab, "--json", *(["--compile"] if arguments.compile else [])]
    return (lambda: run_ours(arguments.binary, ours)), (lambda: json.loads(run(theirs))["tokens_per_second"])


def mlp_sides(row, arguments):
    """The same for the MLP, in images per second."""
    if arguments.precision != "fp32":
        raise Skip("is measured in fp32 alone")
    binary = arguments.binary.with_name("mlp")
    if not binary.exists():
        raise Skip(f"there is no {binary}")
    if not pathlib.Path(arguments.data).is_dir():
        raise Skip(f"there is no {arguments.data}")
    options = ["--data", arguments.data, "--epochs", row.steps, "--threads", arguments.threads]
    theirs = [arguments.python, HERE / "mlp_train.py", *options, "--batch", row.micro_batch, "--json"]
    return (lambda: run_ours(binary, [*options, "--micro-batch", row.micro_batch]),
            lambda: json.loads(run(theirs))["images_per_second"])


def adamw_sides(row, arguments):
    """The same for AdamW over as many parameters as GPT-2 124M has, in parameters per second."""
    if arguments.precision != "fp32":
        raise Skip("is the same in every precision")

    def ours():
        rows = bench_rows(arguments, ADAMW, "--benchmark_min_time=1")
        if not rows or "bytes_per_second" not in rows[0]:
            raise Skip(rows[0].get("error_message", "accrue_bench reports no rate") if rows
                       else "needs accrue_bench beside --binary")
        return rows[0]["bytes_per_second"] / ADAMW_BYTES

    theirs = [arguments.python, HERE / "adamw_step.py", "--steps", row.steps, "--threads", arguments.threads, "--json"]
    return ours, (lambda: json.loads(run(theirs))["parameters_per_second"])


SIDES = {"mlp": mlp_sides, "adamw": adamw_sides}


def measure(row, arguments):
    """All pairs of one row."""
    ours, theirs = SIDES.get(row.name, gpt_sides)(row, arguments)
    pairs = []
    for number in range(arguments.pairs):
        pair = {"ours": ours(), "pytorch": theirs()}
        pair["ratio"] = pair["ours"] / pair["pytorch"]
        limit = peak(arguments, row)
        work = ADAMW_BYTES if row.name == "adamw" else flop_per_position(row)
        pair["of_peak"] = pair["ours"] * work / limit if limit else None
        pairs.append(pair)
        print(f"{row.name} pair {number + 1}: {pair['ours']:,.0f} against {pair['pytorch']:,.0f} a second, "
              f"ratio {pair['ratio']:.3f}", file=sys.stderr)
    return pairs


def describe(row):
    if row.name == "adamw":
        return "AdamW over the parameters of GPT-2 124M (parameters/s)"
    if not row.layers:
        return f"MLP 784-512-512-10, Fashion-MNIST, batch {row.micro_batch} (images/s)"
    return (f"GPT {row.layers}/{row.heads}/{row.width}, T {row.context}, B {row.micro_batch}, K {row.accumulation}, "
            f"vocab {row.vocab} (tokens/s)")


def table_line(row, pairs):
    ratios = [pair["ratio"] for pair in pairs]
    ours, theirs = (statistics.median(pair[side] for pair in pairs) for side in ("ours", "pytorch"))
    fractions = [pair["of_peak"] for pair in pairs if pair["of_peak"]]
    of_peak = f"{100 * statistics.median(fractions):.0f} %" if fractions else "–"
    return (f"| {describe(row)} | {ours:,.0f} | {theirs:,.0f} | **{statistics.median(ratios):.2f}** | "
            f"{' '.join(f'{ratio:.2f}' for ratio in ratios)} | {of_peak} |")


def main():
    arguments = parse()
    names = [row.name for row in ROWS]
    wanted = arguments.rows.split(",")
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise SystemExit(f"unknown rows {', '.join(unknown)}; there are {', '.join(names)}")
    if not arguments.binary.exists():
        raise SystemExit(f"there is no {arguments.binary}: build it, or name it with --binary")
    arguments.python = shutil.which(arguments.python) or arguments.python
    if subprocess.run([arguments.python, "-c", "import torch"], capture_output=True).returncode != 0:
        raise SystemExit(f"{arguments.python} has no PyTorch: install it, or name a Python that has it with --python")
    torch_version = run([arguments.python, "-c", "import torch; print(torch.__version__)"]).strip()

    measured, skipped = {}, {}
    for row in (row for row in ROWS if row.name in wanted):
        try:
            measured[row.name] = measure(row, arguments)
        except Skip as reason:
            skipped[row.name] = str(reason)
            print(f"{row.name} skipped: {reason}", file=sys.stderr)

    print(f"{arguments.threads} threads, {arguments.precision}, PyTorch {torch_version}, "
          f"{arguments.pairs} alternating pairs; a ratio above 1 means that Accrue is faster\n")
    print("| work | Accrue | PyTorch | median ratio | pair by pair | Accrue, of the peak |")
    print("|---|---|---|---|---|---|")
    for row in ROWS:
        if row.name in measured:
            print(table_line(row, measured[row.name]))
        elif row.name in skipped:
            print(f"| {describe(row)} | – | – | – | – | skipped: {skipped[row.name]} |")
    if arguments.json:
        report = {"torch": torch_version, "threads": arguments.threads, "precision": arguments.precision,
                  "rows": [{**dataclasses.asdict(row), "pairs": measured[row.name]}
                           for row in ROWS if row.name in measured], "skipped": skipped}
        pathlib.Path(arguments.json).write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

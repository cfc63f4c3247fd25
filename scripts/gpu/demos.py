"""Trainings as a user starts them, for a few hundred updates: the loss must fall, with every precision, and in fp32 go
as it goes on the CPU."""

import gzip
import json
import math
import shutil
import statistics
import struct

from gpu.process import FAILED, NOT_RUN, PASSED, run
from gpu.result import Part

PRECISIONS = ["fp32", "tf32", "bf16", "fp16"]
# A replayed window counts once: the windows are then those of the other precisions.
EXTRA = {"fp16": ["--on-overflow", "replay"]}
# Relative difference of the first losses from the CPU's, as tests/programs/cuda_test.cpp demands it of small models. fp32:
# rounding alone. tf32, bf16 and fp16: operands keep 11, 8 and 11 significant bits, and the loss averages their errors.
AS_ON_THE_CPU = {"fp32": 1e-5, "tf32": 2**-9, "bf16": 2**-6, "fp16": 2**-9}
COMPARED_UPDATES = 3
LEAST_ACCURACY = 0.80  # of an epoch on Fashion-MNIST; guessing has 0.1

# The learning rate is constant, so that a shorter run is the beginning of a longer one.
GPT = ["--layers", 4, "--heads", 4, "--width", 128, "--context", 64, "--micro-batch", 12, "--accumulation", 4,
       "--schedule", "constant", "--clip", 1, "--beta1", 0.9, "--beta2", 0.95, "--weight-decay", 0.1, "--seed", 1]
TINY_GPT = ["--layers", 1, "--heads", 2, "--width", 32, "--context", 16, "--micro-batch", 2, "--accumulation", 2,
            "--schedule", "constant", "--seed", 1]


def windows(run_folder):
    """The objects of a run's metrics.jsonl; the last line of a run that was stopped may be torn."""
    found = []
    for line in (run_folder / "metrics.jsonl").read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def losses(run_folder):
    return [float(window["loss"]) for window in windows(run_folder)]


def rate(run_folder):
    """Median of tokens or samples a second, without the first updates."""
    rates = [value for window in windows(run_folder)[4:] for key, value in window.items() if key.endswith("_per_second")]
    return statistics.median(rates) if rates else float("nan")


def fell(values):
    """(whether the loss fell by a tenth at least, "5.55 -> 2.61")."""
    count = max(1, min(20, len(values) // 4))
    first, last = statistics.fmean(values[:count]), statistics.fmean(values[-count:])
    return math.isfinite(last) and last < 0.9 * first, f"{first:.3f} -> {last:.3f}"


def farthest(values, others):
    return max(abs(a - b) / abs(b) for a, b in zip(values, others))


class Gpt:
    def __init__(self, context):
        self.context = context
        self.updates = 12 if context.tiny else context.updates
        self.model = TINY_GPT if context.tiny else GPT
        self.rate = 1e-2 if context.tiny else 2e-3

    def train(self, name, deadline, *options, updates=None):
        """(Finished, folder of the run)."""
        folder = self.context.out / "runs" / f"gpt-{name}"
        command = [self.context.installation.program("gpt"), "train", "--text", self.context.installation.text(), "--out",
                   folder, *self.model, "--learning-rate", self.rate, "--steps", updates or self.updates,
                   "--validation-fraction", 0, *options]
        return run(command, deadline, self.context.installation.environment()), folder

    def check(self, part, deadline):
        if self.context.installation.text() is None:
            part.add("gpt train", NOT_RUN, detail="the text data/kjv.txt is not here; scripts/demo makes it")
            return
        done, folder = self.train("cpu", deadline, "--device", "cpu", updates=COMPARED_UPDATES)
        on_cpu = losses(folder) if done.status == PASSED else []
        for precision in PRECISIONS:
            done, folder = self.train(precision, deadline, "--device", "cuda", "--precision", precision,
                                      *EXTRA.get(precision, []))
            if done.status != PASSED:
                part.add(f"gpt train {precision}", done.status, done.seconds, done.last_lines())
                continue
            values = losses(folder)
            falls, detail = fell(values)
            part.add(f"gpt train {precision}: loss falls", PASSED if falls else FAILED, done.seconds,
                     f"{detail} in {len(values)} updates, {rate(folder):,.0f} tokens/s")
            self.compare(part, precision, values, on_cpu)
        self.verify(part, deadline)

    def compare(self, part, precision, values, on_cpu):
        name = f"gpt train {precision}: losses as on the CPU"
        if not on_cpu:
            part.add(name, NOT_RUN, detail="the run on the CPU did not end")
            return
        difference, bound = farthest(values[:len(on_cpu)], on_cpu), AS_ON_THE_CPU[precision]
        part.add(name, PASSED if difference <= bound else FAILED,
                 detail=f"farthest {difference:.1e} of {bound:.1e} allowed, {len(on_cpu)} updates")

    def verify(self, part, deadline):
        """Contract 12 on the device: every split of a window has the same gradient."""
        model = ["--layers", 1, "--heads", 2, "--width", 16, "--context", 8] if self.context.tiny else []
        done = run([self.context.installation.program("gpt"), "verify", "--device", "cuda", *model], deadline,
                   self.context.installation.environment())
        part.add("gpt verify", done.status, done.seconds, "" if done.status == PASSED else done.last_lines())


def first_pictures(source, target, part, count):
    """Write the first `count` pictures and labels of an MNIST folder."""
    target.mkdir(parents=True, exist_ok=True)
    for name, header, item in ((f"{part}-images-idx3-ubyte", 16, 784), (f"{part}-labels-idx1-ubyte", 8, 1)):
        content = gzip.decompress((source / f"{name}.gz").read_bytes())
        short = content[:4] + struct.pack(">I", count) + content[8:header + count * item]
        (target / f"{name}.gz").write_bytes(gzip.compress(short, 1))


def check_mlp(context, part, deadline):
    installation, data = context.installation, context.installation.pictures()
    if data is None:
        part.add("mlp train", NOT_RUN, detail="Fashion-MNIST is not here")
        return
    options, least = ["--epochs", 1], LEAST_ACCURACY
    if context.tiny:
        few = context.out / "few-pictures"
        for name, count in (("train", 256), ("t10k", 64)):
            first_pictures(data, few, name, count)
        data, options, least = few, ["--epochs", 2, "--micro-batch", 16, "--hidden", "16"], 0.2
    for precision in PRECISIONS:
        folder = context.out / "runs" / f"mlp-{precision}"
        done = run([installation.program("mlp"), "train", "--data", data, "--out", folder, "--device", "cuda",
                    "--precision", precision, "--seed", 1, *options, *EXTRA.get(precision, [])], deadline, installation.environment())
        if done.status != PASSED:
            part.add(f"mlp train {precision}", done.status, done.seconds, done.last_lines())
            continue
        falls, detail = fell(losses(folder))
        part.add(f"mlp train {precision}: loss falls", PASSED if falls else FAILED, done.seconds,
                 f"{detail}, {rate(folder):,.0f} images/s")
        tested = run([installation.program("mlp"), "eval", "--checkpoint", folder, "--data", data, "--json", "--device",
                      "cuda"], deadline, installation.environment(), keep_errors_apart=True)
        accuracy = json.loads(tested.output)["accuracy"] if tested.status == PASSED else float("nan")
        status = tested.status if tested.status != PASSED else PASSED if accuracy >= least else FAILED
        part.add(f"mlp eval {precision}", status, tested.seconds,
                 f"accuracy {accuracy:.4f}, at least {least}" if tested.status == PASSED else tested.last_lines())


def check(context, deadline):
    part = Part("demos")
    shutil.rmtree(context.out / "runs", ignore_errors=True)  # of an earlier check
    Gpt(context).check(part, deadline.part(0.7))
    check_mlp(context, part, deadline)
    return part

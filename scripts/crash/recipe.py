"""The training that is killed: a tiny GPT with everything that a resumed run could get wrong."""

import random

# Two epochs and a bit, each with a last window that is cut short; dropout, clipping, a schedule, evaluations; of the
# checkpoints, old ones are removed on the way.
UPDATES = 12
ACCUMULATION = 4
CONTEXT = 8
KEEP = 3
OPTIONS = ["--layers", "1", "--heads", "2", "--width", "8", "--context", str(CONTEXT), "--dropout", "0.1",
           "--micro-batch", "2", "--accumulation", str(ACCUMULATION), "--steps", str(UPDATES), "--save-every", "1",
           "--keep", str(KEEP), "--validation-fraction", "0.2", "--evaluate-every", "3", "--learning-rate", "0.01",
           "--schedule", "cosine", "--warmup", "2", "--clip", "0.5", "--seed", "3", "--threads", "1"]
SAMPLES = 46  # of which 37 are trained on: 4 windows of 8 and one of 5


def write_text(path):
    letters = random.Random(5)
    path.write_text("".join(letters.choice("abcdefghijklm \n") for _ in range(SAMPLES * CONTEXT + 1)))


def train(gpt, text, run):
    """The command that starts the run, and that continues it."""
    return [gpt, "train", "--text", text, "--out", run, "--resume", "auto", *OPTIONS]


def evaluate(gpt, text, run):
    return [gpt, "eval", "--checkpoint", run, "--text", text, "--threads", "1"]


def sample(gpt, run):
    return [gpt, "sample", "--checkpoint", run, "--prompt", "a", "--tokens", "3", "--threads", "1"]

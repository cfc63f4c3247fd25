#!/usr/bin/env python3
"""Train a byte-level GPT on a text file in PyTorch, with the options of `gpt train`.

Progress goes to standard error; the last line on standard output is a JSON object with the validation loss (mean over
all sequential samples of the held-out tail), the mean training loss of the last updates and the seconds of training.
"""

import argparse
import contextlib
import json
import sys
import time

import schedule
import tuning

LAST_UPDATES = 50  # the training loss reported at the end is their mean


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--text", required=True, help="file to train on, as bytes")
    parser.add_argument("--validation-fraction", type=float, default=0.05, help="held-out part at the end")
    parser.add_argument("--layers", type=int, default=4, help="transformer blocks")
    parser.add_argument("--heads", type=int, default=4, help="attention heads")
    parser.add_argument("--width", type=int, default=128, help="residual width")
    parser.add_argument("--context", type=int, default=64, help="tokens in a sample")
    parser.add_argument("--micro-batch", type=int, default=12, help="samples in one forward/backward")
    parser.add_argument("--accumulation", type=int, default=1, help="micro-batches in one update")
    parser.add_argument("--steps", type=int, default=1000, help="updates")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="rate after the warm-up")
    parser.add_argument("--min-learning-rate", type=float, default=0.0, help="where linear and cosine end")
    parser.add_argument("--warmup", type=int, default=0, help="updates over which the rate rises")
    parser.add_argument("--schedule", choices=schedule.KINDS, default="cosine", help="the rate after the warm-up")
    parser.add_argument("--clip", type=float, default=1.0, help="largest gradient norm; 0 turns clipping off")
    parser.add_argument("--beta1", type=float, default=0.9, help="AdamW")
    parser.add_argument("--beta2", type=float, default=0.95, help="AdamW")
    parser.add_argument("--weight-decay", type=float, default=0.1, help="AdamW, on tensors with two dimensions")
    parser.add_argument("--seed", type=int, default=1, help="seed of the initial weights and of the sample order")
    parser.add_argument("--save", metavar="FILE", help="write the weights as safetensors at the end")
    tuning.add_arguments(parser)
    return parser.parse_args()


def mean_loss(model, tokens, targets, batch=64):
    """Mean cross-entropy over every target, in order."""
    import torch

    with torch.no_grad():
        total = sum(model(x, y).double() for x, y in zip(tokens.split(batch), targets.split(batch)))
    return total.item() / targets.numel()


def train(model, arguments, tokens, targets):
    """Run all updates; return their losses."""
    import torch

    from data import shuffled_windows
    from gpt_model import make_adamw, train_update

    optimizer = make_adamw(model, arguments.learning_rate, arguments.beta1, arguments.beta2, arguments.weight_decay)
    generator = torch.Generator().manual_seed(arguments.seed)
    windows = shuffled_windows(tokens, targets, arguments.micro_batch, arguments.accumulation, generator)
    losses, begin = [], time.perf_counter()
    for update in range(arguments.steps):
        rate = schedule.learning_rate(update, arguments.schedule, arguments.learning_rate, arguments.min_learning_rate,
                                      arguments.warmup, arguments.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, _ = train_update(model, optimizer, next(windows), arguments.clip, contextlib.nullcontext())
        losses.append(loss.item())
        if (update + 1) % 50 == 0:
            print(f"update {update + 1}: loss {losses[-1]:.4f}, learning rate {rate:.2e}, "
                  f"{time.perf_counter() - begin:.1f} s", file=sys.stderr)
    return losses


def main():
    arguments = parse()
    tuning.apply(arguments)
    import torch

    import data
    from gpt_model import Config, Gpt, save

    training, validation = data.split_validation(data.read_bytes(arguments.text), arguments.validation_fraction)
    torch.manual_seed(arguments.seed)
    model = Gpt(Config(arguments.layers, arguments.heads, arguments.width, arguments.context, vocab=256))
    begin = time.perf_counter()
    losses = train(model, arguments, *data.samples(training, arguments.context))
    seconds = time.perf_counter() - begin
    last = losses[-LAST_UPDATES:]
    result = {
        "validation_loss": mean_loss(model, *data.samples(validation, arguments.context)) if len(validation) else None,
        "train_loss": sum(last) / max(1, len(last)),
        "seconds": seconds,
    }
    if arguments.save:
        save(model, arguments.save)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

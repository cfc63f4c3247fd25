#!/usr/bin/env python3
"""Time GPT training steps (load, forward, backward, clip, AdamW) in PyTorch."""

import argparse
import contextlib
import json
import statistics
import time

import tuning


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--layers", type=int, default=4, help="transformer blocks")
    parser.add_argument("--heads", type=int, default=4, help="attention heads")
    parser.add_argument("--width", type=int, default=128, help="residual width")
    parser.add_argument("--context", type=int, default=64, help="tokens in a sample")
    parser.add_argument("--micro-batch", type=int, default=12, help="samples in one forward/backward")
    parser.add_argument("--accumulation", type=int, default=1, help="micro-batches in one step")
    parser.add_argument("--vocab", type=int, default=256, help="vocabulary")
    parser.add_argument("--text", help="take byte tokens from this file instead of random tokens")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16 means autocast")
    parser.add_argument("--steps", type=int, default=30, help="timed steps")
    parser.add_argument("--warmup-steps", type=int, default=5, help="steps before timing starts")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to run")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model (PyTorch 2)")
    parser.add_argument("--seed", type=int, default=1, help="seed of weights and tokens")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    tuning.add_arguments(parser)
    return parser.parse_args()


def make_windows(arguments):
    """Endless windows of (tokens, targets) micro-batches."""
    import torch

    import data

    generator = torch.Generator().manual_seed(arguments.seed)
    if arguments.text:
        tokens = data.read_bytes(arguments.text)
    else:
        wanted = 8 * arguments.micro_batch * arguments.accumulation * arguments.context + 1
        tokens = torch.randint(arguments.vocab, (wanted,), generator=generator)
    return data.shuffled_windows(*data.samples(tokens, arguments.context), arguments.micro_batch,
                                 arguments.accumulation, generator)


def measure(arguments):
    """Run the steps; return the seconds of every timed one and the last loss."""
    import torch

    from gpt_model import Config, Gpt, make_adamw, train_update

    torch.manual_seed(arguments.seed)
    model = Gpt(Config(arguments.layers, arguments.heads, arguments.width, arguments.context, arguments.vocab))
    model.to(arguments.device)
    optimizer = make_adamw(model, learning_rate=1e-3)
    forward = torch.compile(model) if arguments.compile else model
    on_gpu = arguments.device == "cuda"
    autocast = torch.autocast(arguments.device, torch.bfloat16) if arguments.precision == "bf16" \
        else contextlib.nullcontext()

    windows, seconds, loss = make_windows(arguments), [], None
    for step in range(arguments.warmup_steps + arguments.steps):
        if on_gpu:
            torch.cuda.synchronize()
        begin = time.perf_counter()
        window = [(x.to(arguments.device), y.to(arguments.device)) for x, y in next(windows)]
        loss, _ = train_update(forward, optimizer, window, clip=1.0, autocast=autocast)
        if on_gpu:
            torch.cuda.synchronize()
        if step >= arguments.warmup_steps:
            seconds.append(time.perf_counter() - begin)
    return seconds, float(loss)


def main():
    arguments = parse()
    tuning.apply(arguments)
    import torch

    seconds, loss = measure(arguments)
    tokens = arguments.micro_batch * arguments.accumulation * arguments.context
    quartiles = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
    result = {
        "tokens_per_second": tokens / statistics.median(seconds),
        "milliseconds": 1e3 * statistics.median(seconds),
        "milliseconds_quartiles": [1e3 * quartiles[0], 1e3 * quartiles[2]],
        "milliseconds_range": [1e3 * min(seconds), 1e3 * max(seconds)],
        "loss": loss,
        "torch": torch.__version__,
        "config": {key: value for key, value in vars(arguments).items() if key != "json"},
    }
    if arguments.json:
        print(json.dumps(result))
        return
    low, high = result["milliseconds_quartiles"]
    print(f"{result['tokens_per_second']:,.0f} tokens/s, {result['milliseconds']:.1f} ms a step "
          f"(quartiles {low:.1f} to {high:.1f}, range {result['milliseconds_range'][0]:.1f} to "
          f"{result['milliseconds_range'][1]:.1f}), loss {loss:.4f}")
    print(f"torch {result['torch']}, " + ", ".join(f"{key} {value}" for key, value in result["config"].items()))


if __name__ == "__main__":
    main()

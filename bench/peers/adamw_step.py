#!/usr/bin/env python3
"""Time PyTorch's AdamW over the parameters of GPT-2 124M: the optimizer's step alone, on gradients that stay."""

import argparse
import json
import statistics
import time

import tuning


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="timed steps")
    parser.add_argument("--warmup-steps", type=int, default=3, help="steps before timing starts")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    tuning.add_arguments(parser)
    return parser.parse_args()


def main():
    arguments = parse()
    tuning.apply(arguments)
    import torch

    from gpt_model import Config, Gpt, make_adamw

    model = Gpt(Config(12, 12, 768, 1024, 50257))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer, seconds = make_adamw(model, learning_rate=1e-3), []
    for step in range(arguments.warmup_steps + arguments.steps):
        begin = time.perf_counter()
        optimizer.step()
        if step >= arguments.warmup_steps:
            seconds.append(time.perf_counter() - begin)
    count = sum(parameter.numel() for parameter in model.parameters())
    form = "fused" if optimizer.defaults.get("fused") else "foreach"
    result = {"parameters_per_second": count / statistics.mean(seconds), "milliseconds": 1e3 * statistics.mean(seconds),
              "parameters": count, "form": form, "torch": torch.__version__}
    if arguments.json:
        print(json.dumps(result))
    else:
        print(f"{result['milliseconds']:.1f} ms for {count:,} parameters ({form}), torch {torch.__version__}")


if __name__ == "__main__":
    main()

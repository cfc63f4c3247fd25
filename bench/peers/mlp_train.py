#!/usr/bin/env python3
"""Train a 784-512-512-10 ReLU network on Fashion-MNIST in PyTorch: seconds an epoch and test accuracy."""

import argparse
import json
import statistics
import time

import schedule
import tuning


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist",
                        help="folder of the four *-ubyte.gz files; the default is where Debian has them")
    parser.add_argument("--epochs", type=int, default=5, help="passes over the 60,000 training images")
    parser.add_argument("--batch", type=int, default=128, help="images in an update")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="Adam's rate")
    parser.add_argument("--schedule", choices=schedule.KINDS, default="constant", help="linear and cosine end at 0")
    parser.add_argument("--seed", type=int, default=1, help="seed of the weights and of the order")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    tuning.add_arguments(parser)
    return parser.parse_args()


def accuracy(model, images, labels):
    import torch

    with torch.no_grad():
        hits = sum((model(x).argmax(-1) == y).sum().item() for x, y in zip(images.split(1000), labels.split(1000)))
    return hits / len(labels)


def make_adam(parameters, learning_rate):
    """Adam in the fastest form that this PyTorch has on a CPU."""
    import torch

    parameters = list(parameters)
    try:
        return torch.optim.Adam(parameters, lr=learning_rate, fused=True)
    except (TypeError, RuntimeError):
        return torch.optim.Adam(parameters, lr=learning_rate, foreach=True)


def train(arguments):
    """Return the seconds and the test accuracy of every epoch, and the seconds of every update."""
    import torch
    import torch.nn as nn
    import torch.nn.functional as F

    import data

    torch.manual_seed(arguments.seed)
    images, labels = data.fashion_mnist(arguments.data, "train")
    test = data.fashion_mnist(arguments.data, "t10k")
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    optimizer = make_adam(model.parameters(), arguments.learning_rate)
    updates_an_epoch = -(-len(images) // arguments.batch)
    seconds, accuracies, update_seconds = [], [], []
    for _ in range(arguments.epochs):
        begin = previous = time.perf_counter()
        for rows in torch.randperm(len(images)).split(arguments.batch):
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate(len(update_seconds), arguments.schedule, arguments.learning_rate,
                                                     minimum=0.0, warmup=0, total=arguments.epochs * updates_an_epoch)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
            now = time.perf_counter()
            update_seconds.append(now - previous)
            previous = now
        seconds.append(time.perf_counter() - begin)
        accuracies.append(accuracy(model, *test))
    return seconds, accuracies, update_seconds


def main():
    arguments = parse()
    tuning.apply(arguments)
    import torch

    seconds, accuracies, update_seconds = train(arguments)
    result = {
        "seconds_per_epoch": statistics.median(seconds),
        "images_per_second": arguments.batch / statistics.median(update_seconds),
        "test_accuracy": accuracies[-1],
        "seconds": seconds,
        "test_accuracies": accuracies,
        "torch": torch.__version__,
    }
    if arguments.json:
        print(json.dumps(result))
    else:
        print(f"{result['seconds_per_epoch']:.2f} s an epoch (range {min(seconds):.2f} to {max(seconds):.2f}), "
              f"test accuracy {100 * accuracies[-1]:.2f} %, torch {torch.__version__}")


if __name__ == "__main__":
    main()

"""Learning rate of an update: linear warm-up, then constant, linear or cosine; Accrue's own formulas."""

import math

KINDS = ["constant", "linear", "cosine"]


def learning_rate(update, kind, peak, minimum, warmup, total):
    """The rate of the 0-based `update` of `total`."""
    if update < warmup:
        return peak * (update + 1) / warmup
    progress = min(1.0, (update - warmup) / max(1, total - warmup))
    if kind == "linear":
        return peak + (minimum - peak) * progress
    if kind == "cosine":
        return minimum + (peak - minimum) * 0.5 * (1 + math.cos(math.pi * progress))
    return peak

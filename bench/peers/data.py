"""Byte-level text and Fashion-MNIST, read the way Accrue's own programs read them."""

import gzip
import pathlib
import struct

import numpy as np
import torch

FASHION_MEAN, FASHION_DEVIATION = 0.2860, 0.3530  # of all training pixels, scaled to 0..1


def read_bytes(path):
    """The file as int64 tokens 0..255."""
    return torch.from_numpy(np.fromfile(path, dtype=np.uint8).astype(np.int64))


def split_validation(tokens, fraction):
    """(training part, validation part): the last `fraction` of the text is held out."""
    held_out = int(len(tokens) * fraction)
    return tokens[: len(tokens) - held_out], tokens[len(tokens) - held_out :]


def samples(tokens, context):
    """Tokens and targets [n, context]: sample i reads [i*T, i*T+T) and predicts the same range shifted by one."""
    count = (len(tokens) - 1) // context
    if count < 1:
        raise ValueError(f"{len(tokens)} tokens hold no sample of {context} tokens and one more")
    end = count * context
    return tokens[:end].view(count, context), tokens[1 : end + 1].view(count, context)


def shuffled_windows(tokens, targets, micro_batch, accumulation, generator):
    """Endless windows of `accumulation` micro-batches, in a new order every epoch; a window may span two epochs."""
    order = torch.randperm(len(tokens), generator=generator)
    while True:
        window = micro_batch * accumulation
        while len(order) < window:
            order = torch.cat([order, torch.randperm(len(tokens), generator=generator)])
        picked, order = order[:window], order[window:]
        yield [(tokens[rows], targets[rows]) for rows in picked.split(micro_batch)]


def read_idx(path):
    """A gzipped IDX file of unsigned bytes (the MNIST format) as a tensor."""
    with gzip.open(path, "rb") as file:
        content = file.read()
    zero, kind, dimensions = struct.unpack_from(">HBB", content)
    if zero != 0 or kind != 8:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy())


def fashion_mnist(folder, part):
    """Standardised images as float32 [n, 784] and labels as int64 [n]; part is 'train' or 't10k'."""
    folder = pathlib.Path(folder)
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
    return (images.view(len(images), -1).float() / 255 - FASHION_MEAN) / FASHION_DEVIATION, labels.long()

#!/usr/bin/env python3
"""Load a model that Accrue saved into Hugging Face Transformers and print its mean loss on a text.

DIR holds model.safetensors and config.json. The loss is the mean over the first samples of the text, in order, so it
can be compared with what `gpt eval --json` says. Needs the packages transformers and safetensors.
"""

import argparse
import json
import pathlib


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIR", help="folder with model.safetensors and config.json")
    parser.add_argument("--text", help="file to evaluate on, as bytes; without it the model is only loaded")
    parser.add_argument("--samples", type=int, default=64, help="how many samples from the text's start (default 64)")
    parser.add_argument("--validation-fraction", type=float, default=0.0,
                        help="evaluate on this last part of the text instead of all of it")
    return parser.parse_args()


def load(directory):
    """GPT2LMHeadModel from the folder; fails when a tensor is missing or left over."""
    from transformers import GPT2LMHeadModel

    if not (pathlib.Path(directory) / "model.safetensors").is_file():
        raise SystemExit(f"{directory} has no model.safetensors")
    model, info = GPT2LMHeadModel.from_pretrained(directory, output_loading_info=True)
    missing = [name for name in info["missing_keys"] if name != "lm_head.weight"]  # tied to wte.weight
    if missing or info["unexpected_keys"] or info["mismatched_keys"]:
        raise SystemExit(f"{directory}: missing {missing}, unexpected {list(info['unexpected_keys'])}, "
                         f"mismatched {list(info['mismatched_keys'])}")
    return model.float().eval()


def mean_loss(model, tokens, targets):
    """Mean cross-entropy over all targets, computed from Hugging Face's logits."""
    import torch
    import torch.nn.functional as F

    with torch.no_grad():
        total = 0.0
        for x, y in zip(tokens.split(16), targets.split(16)):
            logits = model(x).logits
            total += F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1), reduction="sum").item()
    return total / targets.numel()


def main():
    arguments = parse()
    import transformers

    import data

    model = load(arguments.directory)
    result = {"parameters": sum(p.numel() for p in model.parameters()), "transformers": transformers.__version__}
    if arguments.text:
        text = data.read_bytes(arguments.text)
        if arguments.validation_fraction > 0:
            _, text = data.split_validation(text, arguments.validation_fraction)
        tokens, targets = data.samples(text, model.config.n_positions)
        count = min(arguments.samples, len(tokens))
        result.update(loss=mean_loss(model, tokens[:count], targets[:count]), samples=count)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

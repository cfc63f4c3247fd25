#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets into tests/fuzz/corpus/<target>/, beside this script.

Every file there comes from here: valid files, files that are wrong in one respect, and REGRESSIONS, inputs that once
showed a defect. The standard library alone; the output is the same each time.
"""
import json
import pathlib
import shutil
import struct
import zlib

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


# safetensors


def with_length(header, data=b""):
    return struct.pack("<Q", len(header)) + header + data


def safetensors(tensors, metadata=None):
    """A file of {name: (dtype, shape)} whose values are 0, 1, 2, ... as bytes."""
    header, offset = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape) in tensors.items():
        size = SIZES[dtype]
        for extent in shape:
            size *= extent
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    return with_length(compact(header), bytes(i % 256 for i in range(offset)))


def gpt_weights(vocabulary, context, layers, width):
    tensors = {"wte.weight": ("F32", [vocabulary, width]), "wpe.weight": ("F32", [context, width])}
    for layer in range(layers):
        for name, shape in (
            ("ln_1.weight", [width]), ("ln_1.bias", [width]), ("attn.c_attn.weight", [width, 3 * width]),
            ("attn.c_attn.bias", [3 * width]), ("attn.c_proj.weight", [width, width]), ("attn.c_proj.bias", [width]),
            ("ln_2.weight", [width]), ("ln_2.bias", [width]), ("mlp.c_fc.weight", [width, 4 * width]),
            ("mlp.c_fc.bias", [4 * width]), ("mlp.c_proj.weight", [4 * width, width]), ("mlp.c_proj.bias", [width])):
            tensors[f"h.{layer}.{name}"] = ("F32", shape)
    tensors["ln_f.weight"] = tensors["ln_f.bias"] = ("F32", [width])
    return safetensors(tensors, {"format": "pt"})


def safetensors_seeds():
    entry = b'"dtype":"U8","shape":[1],"data_offsets":[0,1]'
    return {
        "empty": with_length(b"{}"),
        "padded": with_length(b"{}      "),
        "all-dtypes": safetensors({dtype: (dtype, [2, 1]) for dtype in SIZES}, {"format": "pt"}),
        "shapes": safetensors({"scalar": ("F32", []), "empty": ("F16", [3, 0]), "six axes": ("U8", [1, 2, 1, 2, 1, 2])}),
        "names": safetensors({'quote"\\ \n': ("F32", [1]), "é∀😀": ("BF16", [1]), "": ("F64", [1])}, {"": "", "k": "v\n"}),
        "special-floats": with_length(
            compact({"a": {"dtype": "F16", "shape": [4], "data_offsets": [16, 24]},
                     "b": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}}),
            struct.pack("<dd", float("nan"), 1e308) + bytes.fromhex("007c00fe01000080")),
        "gpt": gpt_weights(2, 2, 1, 2),
        "blanks": with_length(b'{ "t" :\t{\n"shape" : [ 1 ] , "dtype":"U8", "data_offsets":[0 ,1] } }', b"x"),
        "duplicate-name": with_length(b'{"t":{' + entry + b'},"t":{' + entry + b"}}", b"x"),
        "overlap": with_length(b'{"a":{' + entry + b'},"b":{' + entry + b"}}", b"x"),
        "hole": with_length(b'{"t":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', b"xy"),
        "trailing": with_length(b'{"t":{' + entry + b"}}", b"xyz"),
        "huge-shape": with_length(b'{"t":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,1]}}', b"x"),
        "huge-length": struct.pack("<Q", 2**64 - 1) + b"{}",
        "unknown-dtype": with_length(b'{"t":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}', b"x"),
        "seven-axes": with_length(b'{"t":{"dtype":"U8","shape":[1,1,1,1,1,1,1],"data_offsets":[0,1]}}', b"x"),
        "many-entries": with_length(compact(
            {f"{i:x}": {"dtype": "U8", "shape": [], "data_offsets": [i, i + 1]} for i in range(33)}), bytes(33)),
        "many-metadata": with_length(compact({"__metadata__": {f"{i:x}": "" for i in range(257)}})),
        "deep": with_length(b'{"t":' + b"[" * 500 + b"}"),
        # nlohmann's parser takes a zero byte for the end of the text; what follows was never looked at.
        "regression-zero-byte": with_length(b"{}\x00anything}"),
        "regression-byte-order-mark": with_length(b"\xef\xbb\xbf{}"),
    }


# JSON

SETTINGS = {
    "program": "gpt", "data_bytes": 4404412, "data_hash": "00c0ffee00c0ffee", "seed": 18446744073709551615,
    "global_batch": 48, "data_order": "shuffled", "partial_window": "step", "dataset_size": 65377, "steps": 1000,
    "rules": {"--clip": "1", "--schedule": "cosine"},
}


def json_seeds():
    return {
        "empty": b"{}",
        "settings": compact(SETTINGS),
        "settings-indented": json.dumps(SETTINGS, indent=2).encode() + b"\n",
        "settings-wrong-types": compact({**SETTINGS, "data_hash": "xyz", "rules": []}),
        "numbers": b'{"a":[0,-0,-1,1.5,1e10,1E-5,-2.5e+3,9223372036854775807,-9223372036854775808,18446744073709551615,'
                   b'18446744073709551616,1e308,5e-324,1e-999]}',
        "strings": '{"a":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\u00e9\\ud83d\\ude00é∀😀","":""}'.encode(),
        "literals": b'{"a":[true,false,null]}',
        "nested": b'{"a":' + b"[" * 31 + b"]" * 31 + b"}",
        "nested-too-deep": b'{"a":' + b"[" * 32 + b"]" * 32 + b"}",
        "blanks": b' \t\r\n{ "a" : [ ] , "b" : { } }\n',
        "many-elements": b'{"a":[' + b",".join([b"{}"] * 1025) + b"]}",
        "duplicate": b'{"a":1,"a":2}',
        "duplicate-escaped": b'{"a":1,"\\u0061":2}',
        "overflow": b'{"a":1e999}',
        "long-number": b'{"a":' + b"1" * 101 + b"}",
        "array": b"[]",
        "trailing": b"{}{}",
        "trailing-comma": b'{"a":1,}',
        "surrogate": b'{"a":"\\ud800"}',
        "latin-1": b'{"a":"\xe9"}',
        "overlong": b'{"a":"\xc0\x80"}',
        "control": b'{"a":"\n"}',
        "regression-zero-byte": b"{}\x00garbage",
        "regression-byte-order-mark": b"\xef\xbb\xbf{}",
    }


# IDX and gzip


def idx(extents, data=None, kind=8):
    size = 1
    for extent in extents:
        size *= extent
    header = bytes([0, 0, kind, len(extents)]) + b"".join(struct.pack(">I", extent) for extent in extents)
    return header + (bytes(i % 251 for i in range(size)) if data is None else data)


def gzip(content, level=9, fields=b"", flags=0):
    """A gzip file without name and time, so that it is the same each time."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15)
    body = deflate.compress(content) + deflate.flush()
    header = bytes([0x1F, 0x8B, 8, flags, 0, 0, 0, 0, 0, 255]) + fields
    return header + body + struct.pack("<II", zlib.crc32(content), len(content) % 2**32)


def idx_seeds():
    images = idx([2, 3, 3])
    return {
        "images": images,
        "labels": idx([5], bytes([0, 1, 2, 3, 9])),
        "six-axes": idx([1, 2, 1, 2, 1, 2]),
        "images.gz": gzip(images),
        "stored.gz": gzip(images, level=0),
        "zeros.gz": gzip(idx([32, 32, 32], bytes(32768))),
        "truncated": images[:-1],
        "truncated.gz": gzip(images[:-1]),
        "trailing": images + b"x",
        "trailing.gz": gzip(images) + b"x",
        "no-axes": idx([], b""),
        "seven-axes": idx([1] * 7),
        "extent-zero": idx([2, 0, 3], b""),
        "floats": idx([1], b"abcd", kind=0x0D),
        "overflow": idx([2**32 - 1] * 3, b"a"),
        "terabytes": idx([2**32 - 1, 1024], b"a"),
        "terabytes.gz": gzip(idx([2**32 - 1, 1024], b"a")),
        "most-that-deflate-holds.gz": gzip(idx([1000 * 60], b"a")),
    }


def gzip_seeds():
    text = b"In the beginning God created the heaven and the earth. " * 8
    raw = gzip(text)[10:-8]
    files = {
        "text": gzip(text),
        "stored": gzip(text, level=0),
        "empty": gzip(b""),
        "zeros": gzip(bytes(50000)),
        "incompressible": gzip(bytes((i * i * 7919 >> 3) % 256 for i in range(600))),
        "all-fields": gzip(text, flags=0x1F, fields=b"\x03\x00abc" + b"name\x00" + b"comment\x00" + b"\x00\x00"),
        "two-members": gzip(b"one") + gzip(b"two"),
        "truncated": gzip(text)[:-9],
        "wrong-checksum": gzip(text)[:-8] + bytes(8),
        "no-gzip": b"PK\x03\x04....",
        "block-type-3": gzip(b"")[:10] + b"\x07",
        "raw": raw,  # without its frame: the target makes one
        "raw-two-blocks": b"\x00\x03\x00\xfc\xffabc" + raw,
    }
    pieces = (0, 1, 6, 255, 65535)  # the first two bytes are the size of the pieces less one
    return {name: struct.pack("<H", pieces[i % len(pieces)]) + file for i, (name, file) in enumerate(files.items())}


# The state of a checkpoint and the lock of a run

REPORT = {
    "outcome": "replayed", "window": 4, "update": 3, "micro_batches": 2, "samples": 24, "targets": 1536, "loss": 2.5,
    "grad_norm": "Infinity", "learning_rate": 0.001, "loss_scale": 65536.0, "next_loss_scale": 32768.0, "seconds": 0.25,
    "timed_samples": 24, "overflow": {"parameter": "wte.weight", "micro_batch": 1},
}
STATE = {
    **SETTINGS, "format_version": 4, "optimizer": "adamw", "micro": 8, "window": 4, "update": 3, "skipped": 1, "empty": 0,
    "replayed": 1, "loss_scaling": "dynamic", "loss_scale": 65536.0, "clean_windows": 2, "floor_overflows": 0,
    "trainer": {"replayed": []},
}


def state_seeds():
    logged = {**REPORT, "outcome": "updated", "grad_norm": 1.5}
    del logged["overflow"]
    return {
        "at-a-boundary": compact(STATE),
        "indented": json.dumps(STATE, indent=2).encode() + b"\n",
        "in-a-window": compact({**STATE, "open_window": {"micro_batches": 3, "samples": 36, "normalisation": "targets",
                                                        "accumulate_dtype": "bf16"}}),
        "static-scale": compact({**STATE, "loss_scaling": "static", "loss_scale": 0.5}),
        "replayed": compact({**STATE, "trainer": {"replayed": [REPORT, REPORT], "unlogged": logged}}),
        "other-format": compact({**STATE, "format_version": 3}),
        "counters-contradict": compact({**STATE, "window": 7}),
        "counters-overflow": compact({**STATE, "update": 2**63 - 1, "skipped": 2**63 - 1, "empty": 2, "window": 0}),
        "scale-no-power-of-two": compact({**STATE, "loss_scale": 3}),
        "scale-beyond-float": compact({**STATE, "loss_scale": 1e300}),
        "window-of-nothing": compact({**STATE, "open_window": {}}),
        "outcome-unknown": compact({**STATE, "trainer": {"replayed": [{**REPORT, "outcome": "?"}]}}),
        "overflow-without-overflow": compact({**STATE, "trainer": {"replayed": [{**logged, "outcome": "skipped"}]}}),
        "overflow-steers-terminal": compact(
            {**STATE, "trainer": {"replayed": [{**REPORT, "overflow": {"parameter": "\x1b[2J"}}]}}),
        "no-trainer": compact({key: value for key, value in STATE.items() if key != "trainer"}),
    }


def lock_seeds():
    line = b"accrue lock: process 1234 on host since 2026-03-01T12:00:00Z, start 5678\n"
    return {
        "holder": line,
        "empty": b"",
        "zeros": bytes(64),
        "torn": line[:30],
        "two-lines": line + line,
        "no-process": line.replace(b"1234", b"0"),
        "negative": line.replace(b"1234", b"-1"),
        "process-of-65-bits": line.replace(b"1234", b"18446744073709551616"),
        "leading-zero": line.replace(b"1234", b"01234"),
        "host-steers-terminal": line.replace(b"host", b"\x1b[2J"),
        "foreign": b"my notes\n",
        "long": line[:-1] + b"0" * 4000 + b"\n",
    }


# Texts, configurations, logs


def tokens_seeds():
    text = "In the beginning was the Word, é.\n".encode() * 3

    def small(context, vocabulary, fraction, content):  # the context is a byte
        return bytes([1, context]) + struct.pack("<H", vocabulary) + bytes([fraction]) + content

    def any_context(context, vocabulary, fraction, content):
        return bytes([0]) + struct.pack("<qHd", context, vocabulary, fraction) + content

    return {
        "text": small(8, 256, 25, text),
        "ascii-model": small(8, 128, 25, text),
        "context-one": small(1, 256, 0, b"ab"),
        "too-short": small(8, 256, 25, b"12345678"),
        "one-byte": small(1, 256, 249, b"1"),
        "empty": small(8, 256, 0, b""),
        "fraction-one": small(4, 256, 250, text),
        "context-zero": small(0, 256, 0, text),
        "context-huge": any_context(2**63 - 1, 256, 0.5, text),
        "context-negative": any_context(-(2**63), 256, 0.5, text),
        "fraction-nan": any_context(8, 256, float("nan"), text),
        "fraction-below-one": any_context(8, 256, 1 - 2**-53, text),
        "no-vocabulary": any_context(8, 0, 0.1, text),
    }


GPT = {
    "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 2, "n_positions": 2, "n_ctx": 2, "n_embd": 2,
    "n_layer": 1, "n_head": 1, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "resid_pdrop": 0.0,
    "embd_pdrop": 0.0, "attn_pdrop": 0.0, "tie_word_embeddings": True, "bos_token_id": None, "eos_token_id": None,
}


def gpt_config_seeds():
    weights = gpt_weights(2, 2, 1, 2)
    return {
        "config": compact(GPT),
        "with-weights": compact(GPT) + b"\x00" + weights,
        "larger-than-the-weights": compact({**GPT, "n_embd": 2**20}) + b"\x00" + weights,
        "one-layer-more": compact({**GPT, "n_layer": 2}) + b"\x00" + weights,
        "without-weights": compact(GPT) + b"\x00",
        "gpt2": compact({**GPT, "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12,
                         "resid_pdrop": 0.1}),
        "heads-do-not-divide": compact({**GPT, "n_head": 3}),
        "negative": compact({**GPT, "n_layer": -1}),
        "fraction": compact({**GPT, "n_embd": 2.5}),
        "absurd": compact({**GPT, "vocab_size": 2**63 - 1, "n_embd": 2**63 - 1}),
        "dropout-beyond-float": compact({**GPT, "resid_pdrop": 1e300}),
        "missing": compact({key: value for key, value in GPT.items() if key != "n_head"}),
    }


MLP = {"model_type": "accrue-mlp", "widths": [4, 3, 10], "dropout": 0.25, "pixel_mean": 0.28, "pixel_deviation": 0.35}


def mlp_config_seeds():
    weights = safetensors({"layers.0.weight": ("F32", [4, 3]), "layers.0.bias": ("F32", [3]),
                           "layers.1.weight": ("F32", [3, 10]), "layers.1.bias": ("F32", [10])})
    return {
        "config": compact(MLP),
        "with-weights": compact(MLP) + b"\x00" + weights,
        "larger-than-the-weights": compact({**MLP, "widths": [2**20, 2**20, 10]}) + b"\x00" + weights,
        "many-widths": compact({**MLP, "widths": [1] * 400 + [10]}),
        "too-many-widths": compact({**MLP, "widths": [1] * 1001 + [10]}),
        "one-width": compact({**MLP, "widths": [10]}),
        "width-zero": compact({**MLP, "widths": [4, 0, 10]}),
        "width-fraction": compact({**MLP, "widths": [4, 2.5, 10]}),
        "width-huge": compact({**MLP, "widths": [4, 2**64 - 1, 10]}),
        "other-classes": compact({**MLP, "widths": [4, 3, 12]}),
        "gpt": compact(GPT),
        "deviation-zero": compact({**MLP, "pixel_deviation": 0}),
        "deviation-beyond-float": compact({**MLP, "pixel_deviation": 1e39}),
        "dropout-one": compact({**MLP, "dropout": 1.0}),
    }


def lines(*objects):
    return b"".join(compact(each) + b"\n" for each in objects)


def metrics_seeds():
    run = [{"update": i, "window": i, "loss": 5 - i / 7, "grad_norm": 1.25, "learning_rate": 1e-3, "tokens_per_second": 20955.5,
            "targets": 3072, **({"validation_loss": 5.5 - i / 7} if i % 3 == 0 else {})} for i in range(1, 8)]
    return {
        "run": lines(*run),
        "one-line": lines(run[0])[:-1],
        "empty": b"",
        "not-finite": lines({"update": 1, "loss": "NaN"}, {"update": 2, "loss": "Infinity", "validation_loss": "-Infinity"}),
        "extremes": lines({"update": 1e308, "loss": -1.7e308}, {"update": -1e308, "loss": 1.7e308},
                          {"update": 5e-324, "loss": 5e-324}),
        "replayed": lines({**run[0], "replayed": [{"parameter": "wte.weight", "loss_scale": 65536.0}]}),
        "many-points": lines(*({"update": i, "loss": i * i % 17} for i in range(129))),
        "empty-line": lines(run[0]) + b"\n" + lines(run[1]),
        "no-loss": lines({"update": 1}),
        "loss-of-another-type": lines({"update": 1, "loss": []}),
        "update-of-another-type": lines({"update": "1", "loss": 1}),
        "cut": lines(run[0], run[1])[:-20],
        "windows-line-ends": lines(run[0]).replace(b"\n", b"\r\n"),
        "no-json": b"a text, not a log\n",
    }


def main():
    seeds = {
        "gpt_config": gpt_config_seeds(), "gzip": gzip_seeds(), "idx": idx_seeds(), "json": json_seeds(),
        "lock": lock_seeds(), "metrics": metrics_seeds(), "mlp_config": mlp_config_seeds(), "safetensors": safetensors_seeds(),
        "state": state_seeds(), "tokens": tokens_seeds(),
    }
    total = 0
    for target, files in seeds.items():
        folder = CORPUS / target
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
            total += len(content)
        print(f"{target}: {len(files)} files")
    print(f"{total} bytes")


if __name__ == "__main__":
    main()

"""What lies in the directory of a run."""

import json

# What differs between two runs of the same mathematics.
NOT_MATHEMATICS = {"tokens_per_second", "peak_bytes"}
COMPARED_FILES = ("model.safetensors", "optimizer.safetensors", "config.json", "state.json")


class Wrong(Exception):
    """Something that must not be."""


def windows_done(run):
    """Whole lines of the log."""
    log = run / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def mathematics(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in NOT_MATHEMATICS} for line in lines]


def micro_batches_in_open_window(run):
    """Of the latest checkpoint; 0 where it was made between two windows or there is none."""
    state = run / "latest" / "state.json"
    return json.loads(state.read_text()).get("open_window", {}).get("micro_batches", 0) if state.exists() else 0


def require_readable(run, is_there_already):
    """Whoever follows DIR/latest finds a whole checkpoint, from the first one on and whatever has happened.

    Returns whether it was there; the next call must be told.
    """
    if not (run / "latest").is_symlink():
        if is_there_already:
            raise Wrong(f"{run}/latest is gone")
        return False
    for name in COMPARED_FILES:
        if not (run / "latest" / name).is_file():
            raise Wrong(f"{run}/latest/{name} is missing")
    for link in ("model.safetensors", "config.json"):
        if (run / link).is_symlink() and not (run / link).is_file():
            raise Wrong(f"{run}/{link} leads nowhere")
    return True


def require_same(run, reference):
    """The end of a run is that of the run that nobody disturbed, to the bit, and nothing else lies there."""
    for name in COMPARED_FILES:
        if (run / "latest" / name).read_bytes() != (reference / "latest" / name).read_bytes():
            raise Wrong(f"{run}/latest/{name} is not that of the uninterrupted run")
    for number, (found, expected) in enumerate(zip(mathematics(run), mathematics(reference))):
        if found != expected:
            raise Wrong(f"{run}/metrics.jsonl: line {number + 1} is {found}, but {expected} in the uninterrupted run")
    if windows_done(run) != windows_done(reference):
        raise Wrong(f"{run}/metrics.jsonl has {windows_done(run)} lines, the uninterrupted run {windows_done(reference)}")
    require_tidy(run, reference)


def require_tidy(run, reference):
    found, expected = (sorted(path.name for path in folder.iterdir()) for folder in (run, reference))
    if found != expected:
        raise Wrong(f"{run} holds {', '.join(found)}, but the uninterrupted run left {', '.join(expected)}")
    for path in (run / "checkpoints").iterdir():
        if not path.name.startswith("update-") or path.suffix not in ("", *(f".{n}" for n in range(1, 100))):
            raise Wrong(f"{path} is left over")
    kept = len(list((run / "checkpoints").iterdir()))
    if kept != len(list((reference / "checkpoints").iterdir())):
        raise Wrong(f"{run}/checkpoints holds {kept} checkpoints")

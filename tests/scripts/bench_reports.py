"""Made-up reports for the tests of scripts/bench and scripts/bench_compare."""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "scripts"))

CONTEXT = {"cpu": "A CPU", "instruction_set": "AVX2", "cpu_threads": "2", "compiler": "gcc 12", "build_type": "Release",
           "gemm_library": "oneDNN", "num_cpus": 2, "revision": "0123456789ab", "host_name": "secret",
           "executable": "/somewhere/bin/accrue_bench"}
PEAKS = {"copy/cpu": ("bytes/s", 20e9), "update/cpu": ("bytes/s", 25e9), "fma/f32/cpu": ("FLOP/s", 200e9), "gemm/f32/cpu": ("FLOP/s", 160e9)}


def rows(name, microseconds, bytes=1e6, flop=0, suffix="/manual_time"):
    """The repetitions of one benchmark, as Google Benchmark writes them, then an aggregate."""
    measured = []
    for index, time in enumerate(microseconds):
        row = {"name": name + suffix, "run_type": "iteration", "repetition_index": index, "iterations": 10, "real_time": time,
               "cpu_time": time, "time_unit": "us", "bytes_per_second": bytes / (time * 1e-6), "%peak": 50.0}
        measured.append({**row, "FLOP/s": flop / (time * 1e-6)} if flop else row)
    aggregate = {"name": name + suffix + "_mean", "run_type": "aggregate", "aggregate_name": "mean", "real_time": 1e9,
                 "time_unit": "us"}
    return [*measured, aggregate]


def peak_rows(**changed):
    return [{"name": f"peak/{name}/iterations:1/manual_time", "run_type": "iteration", "real_time": 1e9, "time_unit": "ns",
             unit: changed.get(name.split("/")[0], 1) * value} for name, (unit, value) in PEAKS.items()]


def document(*benchmarks, **changed):
    """A report with the peaks and these benchmarks, each as made by rows()."""
    return {"context": {**CONTEXT, **changed}, "benchmarks": [*peak_rows(), *(row for made in benchmarks for row in made)]}


def write(folder, name, content):
    path = pathlib.Path(folder) / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path

"""What the sources say: the operations with kernels, their tests' suites, and the wrappers around PTX instructions."""

import dataclasses
import functools
import pathlib
import re

from gpu.installation import ROOT

# Both work on a record of scalars, or on f32 alone.
F32_ONLY = {"gradient_check", "step_control"}


@functools.cache
def text_of(path):
    return pathlib.Path(path).read_text(errors="replace")


def operations():
    """{operation: file} of everything with a CUDA kernel: kernels/<op>_cuda.cu."""
    return {path.name.removesuffix("_cuda.cu"): path for path in sorted((ROOT / "kernels").glob("*_cuda.cu"))}


def dtypes(operation):
    return ["f32"] if operation in F32_ONLY else ["f32", "f16", "bf16"]


def suites(stem):
    """Names of the suites in tests/<stem>_test.cpp, tests/<stem>_<something>_test.cpp and tests/cuda/<stem>_test.cu."""
    tests = ROOT / "tests"
    files = [tests / f"{stem}_test.cpp", *sorted(tests.glob(f"{stem}_*_test.cpp")), tests / "cuda" / f"{stem}_test.cu"]
    return sorted({suite for path in files if path.exists()
                   for suite in re.findall(r"^TEST(?:_F|_P)?\((\w+),", text_of(path), re.MULTILINE)})


def kernel_suites():
    """Suites of all operations and of all wrappers."""
    stems = [*operations(), *(stem_of(wrapper.file) for wrapper in ptx_wrappers())]
    return sorted({suite for stem in stems for suite in suites(stem)})


def stem_of(file):
    return pathlib.Path(file).name.split(".")[0]


def included(path, seen=None):
    """A file and what it includes of this tree, and so on."""
    seen = set() if seen is None else seen
    if path in seen or not path.exists():
        return seen
    seen.add(path)
    for name in re.findall(r'^#include "([^"]+)"', text_of(path), re.MULTILINE):
        included(ROOT / name, seen)
    return seen


@dataclasses.dataclass
class Wrapper:
    """A function with inline assembly; its bodies for different GPUs are wrappers of their own."""

    function: str
    below: int  # only GPUs whose __CUDA_ARCH__ is less run it; 0: all the others
    instructions: list
    file: str
    operations: list  # whose kernels include it


def ptx_wrappers():
    users = {operation: included(path) for operation, path in operations().items()}
    found = []
    for path in sorted([*(ROOT / "kernels").rglob("*.cu*"), *(ROOT / "core").rglob("*.cu*")]):
        text, instructions = text_of(path), {}
        for match in re.finditer(r'\basm\b(?:\s+volatile)?\s*\(\s*"\s*([\w.]+)', text):
            place = enclosing_function(text, match.start()), newest_excluded(text, match.start())
            instructions.setdefault(place, []).append(match[1])
        for (function, below), used in instructions.items():
            found.append(Wrapper(function, below, list(dict.fromkeys(used)), path.relative_to(ROOT).as_posix(),
                                 [operation for operation, files in users.items() if path in files]))
    return found


def newest_excluded(text, position):
    """N of an `#if … __CUDA_ARCH__ < N` that is the last directive before the position, else 0."""
    directives = re.findall(r"^#\s*(?:if|ifdef|ifndef|elif|else|endif)\b.*$", text[:position], re.MULTILINE)
    limit = re.search(r"__CUDA_ARCH__ < (\d+)", directives[-1]) if directives else None
    return int(limit[1]) if limit else 0


def enclosing_function(text, position):
    """The name of the last function that begins before the position at the margin."""
    names = re.findall(r"^(?:__device__|__global__|inline|static|template)[^\n;]*?\b(\w+)\(", text[:position], re.MULTILINE)
    return names[-1] if names else "?"

"""Where the programs are that are checked: an unpacked bundle, or a build of this tree."""

import dataclasses
import glob
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ["gpt", "mlp", "unit_tests", "contract_tests", "accrue_bench"]

# Where NVIDIA's run-time libraries are, if the loader does not find them by itself: toolkits, then PyTorch's wheels.
NVIDIA_LIBRARIES = ["/usr/local/cuda/lib64", "/usr/local/cuda-1[2-9]*/lib64", "/usr/local/cuda/targets/*/lib"]
WHEEL_LIBRARIES = ["nvidia/cu1*/lib", "nvidia/cuda_runtime/lib", "nvidia/cublas/lib", "nvidia/cudnn/lib"]


@dataclasses.dataclass
class Installation:
    root: pathlib.Path  # the sources
    programs: pathlib.Path  # the folder of the programs
    libraries: pathlib.Path  # the folder of the shared libraries that came along
    data: pathlib.Path
    build: dict  # commit, changed, architectures, …

    def program(self, name):
        return self.programs / name

    def environment(self, **more):
        """The environment in which the programs start."""
        wheels = [folder for base in sys.path if base for pattern in WHEEL_LIBRARIES
                  for folder in glob.glob(os.path.join(base, pattern))]
        toolkits = [folder for pattern in NVIDIA_LIBRARIES for folder in glob.glob(pattern)]
        paths = [str(self.libraries), *filter(None, [os.environ.get("LD_LIBRARY_PATH")]), *toolkits, *wheels]
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(paths), "OMP_WAIT_POLICY": "passive",
                "ACCRUE_TEST_FIXTURES": str(self.root / "tests" / "fixtures"), **more}

    def text(self):
        """The text of the GPT demo, or None."""
        return next((path for path in (self.data / "kjv.txt", ROOT / "data" / "kjv.txt") if path.exists()), None)

    def pictures(self):
        """The folder of Fashion-MNIST, or None."""
        folders = (self.data / "fashion-mnist", pathlib.Path("/usr/share/datasets/fashion-mnist"))
        return next((folder for folder in folders if folder.is_dir()), None)


def unpack(bundle, folder):
    """Unpack a bundle of scripts/gpu_bundle into the folder, once."""
    target = pathlib.Path(folder) / "accrue-gpu"
    if not (target / "bundle.json").exists():
        shutil.rmtree(target, ignore_errors=True)
        with tarfile.open(bundle) as archive:
            archive.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else archive.extractall(folder)
    return of_bundle(target)


def of_bundle(root):
    root = pathlib.Path(root)
    return Installation(root, root / "bin", root / "lib", root / "data", json.loads((root / "bundle.json").read_text()))


def of_build_folder(programs):
    """Programs that this tree has built."""
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    changes = subprocess.run(["git", "-C", ROOT, "status", "--porcelain"], capture_output=True, text=True).stdout
    programs = pathlib.Path(programs).resolve()
    return Installation(ROOT, programs, programs, ROOT / "data",
                        {"commit": commit or "unknown", "changed": bool(changes.strip()), "built": "here"})


def build_here():
    """Configure and build the preset cuda; the build's own output is shown."""
    for step in (["cmake", "--preset", "cuda"],
                 ["cmake", "--build", "--preset", "cuda", "--parallel", "--target", *PROGRAMS]):
        if subprocess.run(step, cwd=ROOT, check=False).returncode != 0:
            raise SystemExit(f"error: '{' '.join(step)}' failed; on a machine without Accrue's packages use a bundle of "
                             "scripts/gpu_bundle (docs/gpu.md)")
    return of_build_folder(ROOT / "build" / "cuda" / "bin")

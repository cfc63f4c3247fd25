#!/usr/bin/env python3
"""Puts the headers of the CUDA toolkit that the emulated device needs into a folder, from NVIDIA's wheels on PyPI.

    scripts/lib/cuda_headers.py FOLDER                 what the emulated device needs
    scripts/lib/cuda_headers.py --cudnn-frontend FOLDER    the headers of cuDNN's frontend, which no toolkit has

For machines without the toolkit, and for cuDNN's attention. Reads only the headers out of the wheels, a few hundred KB of several hundred MB, where
the index serves parts of files (HTTP ranges, which PyPI does), else the whole wheel. Every file is checked by the
checksum that the wheel has of it. The index is PIP_INDEX_URL's, or PyPI. Does nothing if FOLDER is complete.
"""

import argparse
import html.parser
import io
import os
import pathlib
import shutil
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile

# One release of the toolkit.
TOOLKIT = {
    "nvidia-cuda-runtime": "13.0.96",
    "nvidia-cuda-crt": "13.0.88",
    "nvidia-cuda-cccl": "13.0.85",
    "nvidia-cublas": "13.0.2.14",
}
CUDNN_FRONTEND = {"nvidia-cudnn-frontend": "1.32.0"}
# Which files of a wheel's include folder are wanted.
WANTED = {
    "nvidia-cuda-runtime": lambda path: True,
    "nvidia-cuda-crt": lambda path: path.startswith("crt/"),
    "nvidia-cuda-cccl": lambda path: path.startswith(("nv/", "cccl/nv/")),
    "nvidia-cublas": lambda path: path in ("cublasLt.h", "cublas_api.h"),
    "nvidia-cudnn-frontend": lambda path: path.startswith("cudnn_"),
}
STAMP = "complete"
TIMEOUT = 60  # seconds without a byte


class Links(html.parser.HTMLParser):
    """The targets of all links of a page."""

    def __init__(self):
        super().__init__()
        self.targets = []

    def handle_starttag(self, tag, attributes):
        if tag == "a":
            self.targets += [value for name, value in attributes if name == "href"]


class RemoteFile(io.RawIOBase):
    """A file behind a URL, read in parts; whole, into a temporary file, where the server has no parts."""

    BLOCK = 1 << 18

    def __init__(self, url):
        super().__init__()
        self._url, self._position, self._blocks, self._whole = url, 0, {}, None
        with self._open("bytes=0-0") as answer:
            if answer.status == 206:
                self._size = int(answer.headers["Content-Range"].rpartition("/")[2])
                return
            self._whole = tempfile.TemporaryFile()
            shutil.copyfileobj(answer, self._whole)
            self._size = self._whole.tell()

    def _open(self, byte_range):
        return urllib.request.urlopen(urllib.request.Request(self._url, headers={"Range": byte_range}), timeout=TIMEOUT)

    def _block(self, index):
        if index not in self._blocks:
            last = min(self._size, (index + 1) * self.BLOCK) - 1
            with self._open(f"bytes={index * self.BLOCK}-{last}") as answer:
                self._blocks[index] = answer.read()
        return self._blocks[index]

    def seekable(self):
        return True

    def readable(self):
        return True

    def tell(self):
        return self._position

    def seek(self, offset, whence=io.SEEK_SET):
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer):
        if self._whole:
            self._whole.seek(self._position)
            data = self._whole.read(len(buffer))
        else:
            index, start = divmod(self._position, self.BLOCK)
            data = self._block(index)[start : start + len(buffer)] if self._position < self._size else b""
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def wheel_url(name, version):
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    page = f"{index}/{name}/"
    with urllib.request.urlopen(page, timeout=TIMEOUT) as answer:
        links = Links()
        links.feed(answer.read().decode())
    prefix = f"{name.replace('-', '_')}-{version}-"
    for target in links.targets:
        url = urllib.parse.urldefrag(urllib.parse.urljoin(page, target)).url
        file = url.rpartition("/")[2]
        # Headers are the same for every processor.
        if file.startswith(prefix) and file.endswith(".whl") and "linux" in file:
            return url
    raise LookupError(f"{page} has no wheel {prefix}*.whl")


def extract_headers(name, version, folder):
    with zipfile.ZipFile(io.BufferedReader(RemoteFile(wheel_url(name, version)))) as wheel:
        for entry in wheel.infolist():
            _, found, path = ("/" + entry.filename).partition("/include/")
            if not found or entry.is_dir() or not WANTED[name](path):
                continue
            path = path.removeprefix("cccl/")
            destination = folder / path
            if folder.resolve() not in destination.resolve().parents:
                raise ValueError(f"the wheel of {name} has a file outside its folder: {entry.filename}")
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes(wheel.read(entry))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--cudnn-frontend", action="store_true", help="these headers instead")
    arguments = parser.parse_args()
    folder, wheels = arguments.folder, CUDNN_FRONTEND if arguments.cudnn_frontend else TOOLKIT
    stamp = " ".join(f"{name}={version}" for name, version in wheels.items())
    if (folder / STAMP).is_file() and (folder / STAMP).read_text() == stamp:
        return 0
    try:
        shutil.rmtree(folder, ignore_errors=True)
        for name, version in wheels.items():
            extract_headers(name, version, folder)
    except (OSError, LookupError, ValueError, zipfile.BadZipFile) as error:
        print(f"error: the CUDA headers could not be fetched: {error}", file=sys.stderr)
        return 1
    (folder / STAMP).write_text(stamp)
    return 0


if __name__ == "__main__":
    sys.exit(main())

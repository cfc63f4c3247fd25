"""Read and write .safetensors files with numpy alone.

The format: an 8-byte little-endian header length, a JSON header that gives every tensor's dtype, shape and
byte range, then the tensors' bytes back to back. https://github.com/huggingface/safetensors describes it.
"""

import json
import struct

import numpy as np

DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_HEADER_BYTES = 100_000_000  # the reference implementation's limit


def save(path, tensors, metadata=None):
    """Write the numpy arrays of the dict `tensors` in the order given; metadata values become strings."""
    header, offset, blobs = {}, 0, []
    if metadata:
        header["__metadata__"] = {key: str(value) for key, value in metadata.items()}
    for name, array in tensors.items():
        array = np.asarray(array)
        little_endian = array.dtype.newbyteorder("<")
        if little_endian not in NAMES:
            raise ValueError(f"{name}: dtype {array.dtype} has no safetensors name here")
        blob = np.ascontiguousarray(array, dtype=little_endian).tobytes()
        header[name] = {
            "dtype": NAMES[little_endian],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # keeps the tensors 8-byte aligned
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for blob in blobs:
            file.write(blob)


def load(path):
    """Return (tensors as a dict of numpy arrays, metadata dict). BF16 tensors are widened to float32."""
    with open(path, "rb") as file:
        content = file.read()
    if len(content) < 8:
        raise ValueError(f"{path}: {len(content)} bytes are too few for a safetensors file")
    (header_bytes,) = struct.unpack_from("<Q", content)
    if header_bytes > min(MAX_HEADER_BYTES, len(content) - 8):
        raise ValueError(f"{path}: header of {header_bytes} bytes does not fit the file of {len(content)} bytes")
    header = json.loads(content[8 : 8 + header_bytes])
    metadata = header.pop("__metadata__", {})
    data = memoryview(content)[8 + header_bytes :]
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= len(data):
            raise ValueError(f"{path}: {name}: bytes {begin}..{end} lie outside the {len(data)} bytes of data")
        if entry["dtype"] == "BF16":
            bits = np.frombuffer(data[begin:end], dtype="<u2").astype(np.uint32) << 16
            array = bits.view(np.float32)
        elif entry["dtype"] in DTYPES:
            array = np.frombuffer(data[begin:end], dtype=DTYPES[entry["dtype"]])
        else:
            raise ValueError(f"{path}: {name}: dtype {entry['dtype']} is not supported here")
        tensors[name] = array.reshape(entry["shape"])
    return tensors, metadata

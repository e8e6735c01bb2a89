"""Read and write safetensors files: tensors, text, and a checksum of the file.

A safetensors file is the length of its header (8 bytes), the header (JSON: for each tensor its type, shape and place), and the
bytes of the tensors one after the other. It holds data only, and every tensor has bytes of its own, so reading a file takes time
and memory in proportion to its size. Any program that reads safetensors can read these files.

The library `safetensors` reads and checks the layout. Writing is done here, because the library's writer needs numpy, copies all
tensors in memory, and hides the reason for which a disk refuses to write.

The header begins with the checksum: SHA-256 of the whole file in which the 64 digits of the checksum are zeros. It detects damage;
it is no signature.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from forestgaps_core.files.safe_opening import MAX_WEIGHTS_BYTES, parse_json, read_bytes

DTYPES = {
    "F64": torch.float64,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F32": torch.float32,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I16": torch.int16,
    "U16": torch.uint16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_HEADER_BYTES = 2**23  # as Python objects it takes up to 25 times as much memory
START = b'{"__metadata__":{"sha256":"'  # of a header with a checksum
LENGTH = 8  # bytes of the header's length
NO_CHECKSUM = b"0" * 64
PLACE = slice(LENGTH + len(START), LENGTH + len(START) + len(NO_CHECKSUM))


class TensorFileError(ValueError):
    """The message is a clause: "it is cut short"."""


def write_tensors(file: IO[bytes], tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Write a file of tensors, with its checksum.

    Args:
        file: Empty, and open for writing at any place.
        tensors: Dense, on the CPU, of the types in `DTYPES`. Each is written by value.
        texts: The metadata of the file.

    Raises:
        TensorFileError: The header would be larger than what is read again.
        OSError: The disk refuses it.
    """
    # The widest first: each tensor then starts at a multiple of its item size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, Any] = {"__metadata__": {"sha256": NO_CHECKSUM.decode(), **texts}}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    check_header_size(len(head))
    digest = hashlib.sha256()
    for part in (len(head).to_bytes(LENGTH, "little"), head):
        digest.update(part)
        file.write(part)
    for _, tensor in ordered:
        dense = tensor.detach().resolve_neg().contiguous()
        if size := dense.numel() * dense.element_size():
            memory = memoryview((ctypes.c_char * size).from_address(dense.data_ptr()))
            digest.update(memory)
            file.write(memory)
    file.seek(PLACE.start)
    file.write(digest.hexdigest().encode())
    file.seek(0, 2)


def pack_tensors(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> bytes:
    """Return the content of a file of tensors; see `write_tensors`."""
    file = io.BytesIO()
    write_tensors(file, tensors, texts)
    return file.getvalue()


def check_header_size(size: int) -> None:
    if size > MAX_HEADER_BYTES:
        raise TensorFileError(f"its plain values and names take {size:,} bytes; at most {MAX_HEADER_BYTES:,} are read")


def read_tensors(path: Path, data: bytes | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the texts of a file. A checksum in it is compared with the content.

    Args:
        data: The content, if it was read before.

    Raises:
        TensorFileError: It is damaged or not a safetensors file.
        OSError: It cannot be read, or is larger than `MAX_WEIGHTS_BYTES`.
    """
    import safetensors

    data = read_bytes(path, MAX_WEIGHTS_BYTES) if data is None else data
    texts = read_texts(data)
    tensors: dict[str, Tensor] = {}
    try:
        for name, part in safetensors.deserialize(data):  # type: ignore[no-untyped-call]
            dtype, shape = DTYPES[part["dtype"]], part["shape"]
            tensors[name] = (
                torch.frombuffer(part["data"], dtype=dtype).reshape(shape) if part["data"] else torch.empty(shape, dtype=dtype)
            )
    except Exception as error:  # whatever the damaged part happens to break
        raise TensorFileError(f"its tensors cannot be read ({' '.join(str(error).split())[:200]})") from error
    return tensors, texts


def read_texts(data: bytes) -> dict[str, str]:
    """Return the metadata of a file, after its checksum was compared.

    Raises:
        TensorFileError: They differ, or there is no header.
    """
    size = int.from_bytes(data[:LENGTH], "little")
    if len(data) < LENGTH + size or not size:
        if not data:
            raise TensorFileError("it is empty")
        if data.startswith((b"PK\x03\x04", b"\x80")) and any(data[3:LENGTH]):  # no header is so long
            raise TensorFileError("it is a file of torch or a pickle (.pt), which can run code and is not read")
        raise TensorFileError("it is cut short")
    check_header_size(size)
    if data[LENGTH : PLACE.start] == START:
        digest = hashlib.sha256(data[: PLACE.start])
        digest.update(NO_CHECKSUM)
        digest.update(memoryview(data)[PLACE.stop :])
        if digest.hexdigest().encode() != data[PLACE]:
            raise TensorFileError("its content does not have the checksum that was written with it")
    try:
        texts = parse_json(data[LENGTH : LENGTH + size].decode("utf-8")).get("__metadata__", {})
    except (ValueError, AttributeError) as error:
        raise TensorFileError("its header is not a JSON object") from error
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise TensorFileError("its metadata is not text")
    return texts


# --- the order of a tensor's values in memory -------------------------------------------------------------------------


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    strides = [1]
    for length in reversed(shape[1:]):
        strides.append(strides[-1] * length)
    return tuple(reversed(strides[: len(shape)]))


def is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Return whether a tensor uses each place of its memory once."""
    expected = 1
    for stride, length in sorted(zip(strides, shape, strict=True)):
        if length > 1 and stride != expected:
            return False
        expected *= length
    return True

"""The list of tensors in a `.safetensors` file, read from its header alone. No torch; nothing is ever unpickled."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

from studio.errors import BadInput

_MOST_HEADER_BYTES = 100_000_000
"""What the format allows."""

_ELEMENT_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip

_OTHER_FORMATS = {
    b"PK\x03\x04": "a pickled PyTorch file under another name; the studio never unpickles",
    b"\x80": "a pickle under another name; the studio never unpickles",
    b"version https://git-lfs": "a git-lfs pointer, not the file that it stands for",
    b"GGUF": "a GGUF file",
    b"<": "a web page, not the file that was to be downloaded",
}

_AGAIN = "Get the .safetensors file from its publisher again."


@dataclass(frozen=True)
class Stored:
    """One tensor as its header describes it; `dtype` in the format's own words (F16, BF16, F32, F8_E4M3, ...)."""

    dtype: str
    shape: tuple[int, ...]
    stored_bytes: int


def read_tensors(path: Path) -> Mapping[str, Stored]:
    """Tensor name -> what the header says of it, in the order of the file.

    Raises:
        BadInput: the file is missing, cut short, damaged or of another format; one sentence.
    """
    try:
        stat = path.stat()
        return _read_tensors(path, stat.st_size, stat.st_mtime_ns)
    except FileNotFoundError as e:
        raise BadInput(f"{path} is not there.") from e
    except OSError as e:
        raise BadInput(f"{path} can't be read: {e.strerror}.") from e


def shown(name: str) -> str:
    """A tensor's name as a message may show it: one line, no control characters, not too long."""
    plain = name.encode("unicode_escape").decode("ascii")
    return plain if len(plain) <= 100 else f"{plain[:97]}..."


@lru_cache(maxsize=32)
def _read_tensors(path: Path, size: int, mtime_ns: int) -> Mapping[str, Stored]:
    with path.open("rb") as file:
        start = file.read(32)
        length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else size
        if length > min(_MOST_HEADER_BYTES, size - 8):
            raise _no_safetensors(path, start, "is no safetensors file, or is cut short within its header")
        file.seek(8)
        header = file.read(length)
    try:
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        found = {name: _stored(entry) for name, entry in entries.items()}
        places = sorted(tuple(entry["data_offsets"]) for entry in entries.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise _no_safetensors(path, start, "is no safetensors file: its header makes no sense") from e
    data_bytes, wanted = size - 8 - length, places[-1][1] if places else 0
    if data_bytes < wanted:
        raise BadInput(f"{path} is cut short: it has {size:,} of {size + wanted - data_bytes:,} bytes.", _AGAIN)
    if data_bytes > wanted or any(a[1] != b[0] for a, b in pairwise([(0, 0), *places])):
        raise BadInput(f"{path} is damaged: its tensors and its length disagree.", _AGAIN)
    return MappingProxyType(found)


def _no_safetensors(path: Path, start: bytes, otherwise: str) -> BadInput:
    what = next((f"is {what}" for magic, what in _OTHER_FORMATS.items() if start.startswith(magic)), otherwise)
    return BadInput(f"{path} {what}.", _AGAIN)


def _stored(entry: dict[str, Any]) -> Stored:
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not all(type(n) is int and n >= 0 for n in (begin, end, *shape)):
        raise ValueError("offsets and shapes are whole numbers")
    width = _ELEMENT_BYTES.get(entry["dtype"])
    if width is not None and math.prod(shape) * width != end - begin:
        raise ValueError("shape and bytes disagree")
    return Stored(entry["dtype"], shape, end - begin)

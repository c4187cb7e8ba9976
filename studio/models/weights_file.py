"""A `.safetensors` file seen from outside: is it whole, in which precision, with which hash. No torch."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal

_MOST_HEADER_BYTES = 100_000_000
"""What the format allows."""


def stored_dtype(path: Path) -> Literal["fp16", "fp32"] | None:
    """The precision of most of the file's bytes, or None where it is not a whole safetensors file.

    A file that was cut short, a git-lfs pointer and a file of another format all give None: the header says how
    long the file must be. bf16 counts as fp16: it takes the same room and is converted on loading.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    return _stored_dtype(str(path), stat.st_size, stat.st_mtime_ns)


def shards(index: Path) -> list[Path]:
    """The files that a ``.safetensors.index.json`` names, each beside it; empty where it can't be read."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return []
    safe = [n for n in names if isinstance(n, str) and re.fullmatch(r"[\w.\-]+\.safetensors", n)]
    return [index.parent / n for n in sorted(safe)] if len(safe) == len(names) else []


def file_sha256(path: Path, cache_file: Path | None = None) -> str:
    """The file's sha256 in hex; computed once for a path, size and time of change, where a cache file is given.

    The cache is a JSON file, replaced as a whole; one that is damaged is started anew.
    """
    stat = path.stat()
    key, state = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
    known = _read_cache(cache_file)
    if known.get(key, [])[:2] == state:
        return known[key][2]
    found = sha256_of(path)
    if cache_file is not None:
        # Read again: another process may have added its own while this one was hashing.
        replace_json(cache_file, {**_read_cache(cache_file), key: [*state, found]})
    return found


def sha256_of(path: Path, heard: Callable[[int], None] = lambda count: None) -> str:
    """The file's sha256 in hex. `heard` is told how many bytes each read took; what it raises ends the hashing."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(4 << 20):
            digest.update(block)
            heard(len(block))
    return digest.hexdigest()


def replace_json(path: Path, data: object) -> None:
    """`path` holds `data`; a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, sort_keys=True)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _read_cache(cache_file: Path | None) -> dict[str, list]:
    if cache_file is None:
        return {}
    try:
        data = json.loads(cache_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(data, dict):
        return {}
    return {k: v for k, v in data.items() if isinstance(v, list) and len(v) == 3}


@lru_cache(maxsize=256)
def _stored_dtype(path: str, size: int, mtime_ns: int) -> Literal["fp16", "fp32"] | None:
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(_MOST_HEADER_BYTES, size - 8):
                return None
            header = json.loads(file.read(length))
        tensors = [t for name, t in header.items() if name != "__metadata__"]
        if max((t["data_offsets"][1] for t in tensors), default=-1) + 8 + length != size:
            return None
        held = {"fp16": 0, "fp32": 0}
        for t in tensors:
            begin, end = t["data_offsets"]
            held["fp32" if t["dtype"] in ("F32", "F64") else "fp16"] += end - begin
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError, IndexError):
        return None
    return "fp32" if held["fp32"] > held["fp16"] else "fp16"

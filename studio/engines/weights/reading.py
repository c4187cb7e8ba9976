"""From `.safetensors` files into memory: mapped where the bytes are what is wanted, else read straight to their place.

Reading takes no page faults on the file's side, which a mapping pays for every 4 KiB, and what was read doesn't count
as memory of this process.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import IO

import torch

from studio.engines.weights.layout import Slot, Source
from studio.errors import BadInput

STORED_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""The format's names."""

_BLOCK_BYTES = 8 << 20
"""What is read at a time for a tensor that is converted: all the memory that converting takes."""

_BATCH_BYTES = 16 << 20
"""What a thread reads before anybody hears of it."""

_THREADS = min(4, os.cpu_count() or 1)


def begins(file: Path) -> MappingProxyType[str, int]:
    """Tensor name -> where its first byte lies in a file whose header was found to be whole."""
    stat = file.stat()
    return _begins(file, stat.st_size, stat.st_mtime_ns)


def mapped(slots: Iterable[Slot]) -> dict[Slot, torch.Tensor]:
    """The tensors that can be the file itself: same bytes, same dtype. They cost page cache, not memory."""
    files: dict[Path, mmap.mmap] = {}
    found = {}
    for slot in slots:
        source = slot.source
        if not slot.direct or source.begin % source.dtype.itemsize or not source.nbytes:
            continue
        if source.file not in files:
            files[source.file] = _map(source.file)
        count = source.nbytes // source.dtype.itemsize
        flat = torch.frombuffer(files[source.file], dtype=source.dtype, count=count, offset=source.begin)
        found[slot] = flat.view(slot.shape)
    return found


def read_into(slots: Sequence[Slot], memory: torch.Tensor, start: int = 0) -> Iterator[int]:
    """Fills the slots' places in that memory (uint8, host); yields the bytes taken from files after each tensor.

    To be closed where it is not run to its end.

    Args:
        start: which byte of the layout the memory's first is.

    Raises:
        BadInput: a file can't be read, or is shorter than its header says.
    """
    direct = [slot for slot in slots if slot.direct]
    yield from _read_side_by_side(sorted(direct, key=_by_file), memory, start)
    scratch = torch.empty(0, dtype=torch.uint8)
    for slot in sorted((s for s in slots if not s.direct), key=_by_file):
        if isinstance(slot.source, torch.Tensor):
            slot.within(memory, start).copy_(slot.source)
            continue
        with _open(slot.source.file) as file:
            scratch = _convert(file, slot.source, slot.within(memory, start), scratch)
        yield slot.source.nbytes


def _read_side_by_side(slots: Sequence[Slot], memory: torch.Tensor, start: int) -> Iterator[int]:
    stop = threading.Event()

    def read(batch: list[Slot]) -> None:
        file: IO[bytes] | None = None
        try:
            for slot in batch:
                if stop.is_set():
                    return
                if file is None or file.name != str(slot.source.file):
                    if file is not None:
                        file.close()
                    file = _open(slot.source.file)
                _read(file, slot.source.begin, memory[slot.begin - start :][: slot.nbytes])
        finally:
            if file is not None:
                file.close()

    batches = list(_batches(slots))
    if len(batches) == 1:
        read(batches[0])
        yield from (slot.source.nbytes for slot in batches[0])
        return
    pool = ThreadPoolExecutor(_THREADS, "read-weights")
    try:
        for batch, done in [(batch, pool.submit(read, batch)) for batch in batches]:
            done.result()
            yield from (slot.source.nbytes for slot in batch)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _batches(slots: Iterable[Slot]) -> Iterator[list[Slot]]:
    batch: list[Slot] = []
    held = 0
    for slot in slots:
        batch.append(slot)
        held += slot.nbytes
        if held >= _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _convert(file: IO[bytes], source: Source, target: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
    """`target` holds what the file has, in its own dtype; returns the scratch memory, grown where it had to."""
    width = source.dtype.itemsize
    # A transform needs the tensor whole, and so does another order in memory: a convolution of 60 MB at most.
    whole = source.transform is not None or not target.is_contiguous()
    block = source.nbytes if whole else min(source.nbytes, _BLOCK_BYTES // width * width)
    if scratch.numel() < block:
        scratch = torch.empty(block, dtype=torch.uint8)
    if whole:
        _read(file, source.begin, scratch[:block])
        stored = scratch[:block].view(source.dtype).view(source.shape)
        target.copy_(stored if source.transform is None else source.transform(stored))
        return scratch
    flat = target.view(-1)
    for done in range(0, source.nbytes, block or 1):
        count = min(block, source.nbytes - done)
        _read(file, source.begin + done, scratch[:count])
        flat[done // width :][: count // width].copy_(scratch[:count].view(source.dtype))
    return scratch


def _read(file: IO[bytes], begin: int, target: torch.Tensor) -> None:
    rest = memoryview(target.numpy())
    try:
        file.seek(begin)
        while rest:
            count = file.readinto(rest)  # type: ignore[attr-defined]  # a raw file has it
            if not count:
                raise _damaged(Path(file.name))
            rest = rest[count:]
    except OSError as e:
        raise _damaged(Path(file.name)) from e


def _open(file: Path) -> IO[bytes]:
    try:
        return open(file, "rb", buffering=0)
    except OSError as e:
        raise BadInput(f"{file} can't be read: {e.strerror}.", "Pull the variant again.") from e


def _map(file: Path) -> mmap.mmap:
    with _open(file) as opened:
        try:
            # Copy on write: torch knows no read-only tensors. Nothing is ever written.
            return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as e:
            raise _damaged(file) from e


def _damaged(file: Path) -> BadInput:
    return BadInput(f"{file} is damaged or cut short.", "Get it from its publisher again.")


def _by_file(slot: Slot) -> tuple[str, int]:
    return (str(slot.source.file), slot.source.begin) if isinstance(slot.source, Source) else ("", 0)


@lru_cache(maxsize=32)
def _begins(file: Path, size: int, mtime_ns: int) -> MappingProxyType[str, int]:
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        entries = json.loads(opened.read(length))
    return MappingProxyType(
        {name: 8 + length + e["data_offsets"][0] for name, e in entries.items() if name != "__metadata__"}
    )

"""Loads a full-size single-file checkpoint on the CPU: seconds, and memory beside what is loaded.

Makes one of random fp16 weights with the published names and shapes (4.8 GB for svd), loads its three components in
a process of their own, reads every weight once, compares some with the file, and removes the file. Beside it, in
turn: a plain sequential read of the same file, and everything once more with the file in the page cache.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import re
import struct
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

_KEYS = Path(__file__).resolve().parent.parent / "tests" / "data" / "keys"
_BLOCK = 8 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    kinds = sorted(path.name.removesuffix(".json.gz") for path in _KEYS.glob("*.json.gz"))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where 5 GB are free")
    parser.add_argument("--kind", choices=kinds, default="svd", help="whose names and shapes (svd)")
    parser.add_argument(
        "--to", choices=("fp16", "fp32"), nargs="+", default=["fp16", "fp32"], help="precisions to load in (both)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The figures, cold (the file is not in the page cache) and warm.

    ``extra`` is the peak of resident memory over that at the start, less the weights themselves.
    """
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="svd-studio-load-") as folder:
        path = Path(folder) / f"{args.kind}.safetensors"
        write_random(path, args.kind)
        size = path.stat().st_size
        figures: dict[str, Any] = {"kind": args.kind, "file_bytes": size, "stored_in": "fp16", "bound": 0.15}
        for state in ("cold", "warm"):
            seconds = read_through(path, cold=state == "cold")
            figures[f"read_{state}_seconds"] = round(seconds, 2)
            figures[f"read_{state}_mb_a_second"] = round(size / seconds / 1e6)
            for dtype in args.to:
                if state == "cold":
                    drop_cache(path)
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    found = pool.submit(load_all, path, dtype).result()
                figures |= {f"{dtype}_{state}_{name}": value for name, value in found.items()}
                figures[f"{dtype}_{state}_extra_share_of_file"] = round(found["extra_bytes"] / size, 4)
        return figures


def write_random(path: Path, kind: str) -> None:
    """A checkpoint of normal random fp16 weights of deviation 0.02, seeded."""
    import torch

    with gzip.open(_KEYS / f"{kind}.json.gz") as file:
        shapes = json.load(file)
    entries, end = {}, 0
    for name, shape in shapes.items():
        count = 2 * torch.Size(shape).numel()
        entries[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + count]}
        end += count
    header = json.dumps(entries).encode()
    generator = torch.Generator().manual_seed(0)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for begin in range(0, end, _BLOCK):
            count = min(_BLOCK, end - begin) // 2
            file.write((torch.randn(count, generator=generator) * 0.02).half().numpy())
        file.flush()
        os.fsync(file.fileno())


def read_through(path: Path, *, cold: bool) -> float:
    """Seconds of one sequential read."""
    if cold:
        drop_cache(path)
    begun = time.perf_counter()
    buffer = bytearray(_BLOCK)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            continue
    return time.perf_counter() - begun


def drop_cache(path: Path) -> None:
    """The file is no longer in the page cache, as far as the system follows the advice."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def load_all(path: Path, dtype: str) -> dict[str, Any]:
    """Loads the components one after another, all kept; then reads every weight once."""
    import torch

    from studio.engines.convert.load import check, load_component
    from studio.models.checkpoint import COMPONENTS

    check(path)  # what is imported and built for the first time is not counted
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _memory_bytes("VmRSS")
    begun = time.perf_counter()
    modules = {c: load_component(c, path, "cpu", dtype, lambda done, total: None) for c in COMPONENTS}
    loaded = time.perf_counter()
    with torch.no_grad():
        for parameter in (p for m in modules.values() for p in m.parameters()):
            parameter.view(torch.int16).amax()
    touched = time.perf_counter()
    peak = _memory_bytes("VmHWM")
    held = sum(p.numel() * p.element_size() for m in modules.values() for p in m.parameters())
    return {
        "load_seconds": round(loaded - begun, 2),
        "touch_seconds": round(touched - loaded, 2),
        "held_bytes": held,
        "extra_bytes": peak - before - held,
        "compared_tensors": _compare(path, modules),
    }


def _compare(path: Path, modules: dict[str, Any]) -> int:
    """How many tensors were compared with the file, every 50th of each component."""
    import torch

    from studio.engines.convert.load import read_steps
    from studio.engines.convert.parts import read_part
    from studio.models.checkpoint import read_checkpoint

    checkpoint, count = read_checkpoint(path), 0
    for component, module in modules.items():
        steps = read_part(checkpoint, component).plan()[1][::50]
        state = module.state_dict()
        for step, tensor in read_steps(path, steps):
            for target in step.targets:
                assert torch.equal(target.transform(tensor).to(state[target.name].dtype), state[target.name])
                count += 1
    return count


def _memory_bytes(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found is not None, field
    return int(found.group(1)) * 1024

"""What the user allows the studio to take, and what the host has. The control group counts, not only the machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from studio.errors import BadInput

Policy = Literal["auto", "high", "normal", "low", "none"]

_UNITS = {"b": 1} | {
    f"{letter}{i}b": base**power
    for power, letter in enumerate("kmgt", start=1)
    for i, base in (("", 1000), ("i", 1024))
}


@dataclass(frozen=True)
class Limits:
    """What the user allows.

    Args:
        policy: ``--vram``: high keeps everything on the device, normal what the phase needs, low streams the big
            component, none streams all of it; auto takes the quickest plan that fits.
        device_bytes: ``--vram-budget``: most that weights and working memory may take together; None: what is free.
        host_bytes: ``--ram-budget``: most that weights may take in host memory; None: a share of what is free.
    """

    policy: Policy = "auto"
    device_bytes: int | None = None
    host_bytes: int | None = None


@dataclass(frozen=True)
class HostMemory:
    """Host memory that this process may use; `available_bytes` without pushing anything out to disk."""

    total_bytes: int
    available_bytes: int


def parse_bytes(text: str, *, field: str | None = None) -> int:
    """The number of bytes that a text such as ``8GB`` (8e9) or ``7.5 GiB`` (7.5 * 2**30) says.

    The unit can't be left out: a bare 8 would be eight bytes to one reader and eight gigabytes to another.

    Raises:
        BadInput: it says something else, or nothing above zero.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text.lower())
    factor = _UNITS.get(match[2]) if match else None
    if match is None or factor is None:
        raise BadInput(f"{text!r} is not an amount of memory.", "Give a number and a unit: 8GB, 7.5GiB.", field=field)
    found = round(float(match[1]) * factor)
    if found <= 0:
        raise BadInput(f"{text!r} is no memory at all.", "Give more than zero.", field=field)
    return found


def host_memory(*, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> HostMemory:
    """What the machine has or, where that is less, what the control groups of this process leave it.

    Args:
        proc: where the kernel says in which control groups a process is.
        cgroups: where the control groups are mounted.
    """
    machine = psutil.virtual_memory()
    total, available = machine.total, machine.available
    for limit, taken in _groups(proc, cgroups):
        total = min(total, limit)
        available = min(available, max(limit - taken, 0))
    return HostMemory(total, available)


def _groups(proc: Path, cgroups: Path) -> Iterator[tuple[int, int]]:
    """(limit, bytes taken that nothing can reclaim) of this process's control groups and of all above them."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limits, taken, cache = cgroups, ("memory.max", "memory.high"), "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limits = cgroups / "memory", ("memory.limit_in_bytes",)
            taken, cache = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        # In a container the path can be the host's, of which the mount shows only the container's end: what is not
        # there is passed over, the root of the mount is always looked at.
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts), -1, -1):
            folder = root.joinpath(*parts[:depth])
            limit = min((found for name in limits if (found := _number(folder / name)) is not None), default=None)
            current = _number(folder / taken)
            if limit is not None and current is not None:
                yield limit, current - min(_stat(folder / "memory.stat", cache), current)


def _number(path: Path) -> int | None:
    """What the file says; None where there is none, or for ``max``."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _stat(path: Path, name: str) -> int:
    try:
        found = re.search(rf"^{name} (\d+)$", path.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0

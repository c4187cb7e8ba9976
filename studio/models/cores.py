"""How many threads are worth starting here. The control group and the affinity count, not only the machine."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, MutableMapping
from functools import lru_cache
from pathlib import Path

_PROC, _GROUPS, _CPUS = Path("/proc"), Path("/sys/fs/cgroup"), Path("/sys/devices/system/cpu")


@lru_cache(maxsize=1)
def usable_cpus(*, proc: Path = _PROC, cgroups: Path = _GROUPS) -> int:
    """The logical CPUs that this process can keep busy, 1 at least; where two share a core, both count.

    More threads than the control group's quota has CPUs only make each other wait: the kernel then stops them all for
    the rest of every tenth of a second.

    Args:
        proc: where the kernel says in which control groups a process is.
        cgroups: where the control groups are mounted.
    """
    quota = min(_quotas(proc, cgroups), default=math.inf)
    return max(1, min(len(_affinity()), math.ceil(quota) if math.isfinite(quota) else 2**31))


@lru_cache(maxsize=1)
def usable_cores(*, proc: Path = _PROC, cgroups: Path = _GROUPS, cpus: Path = _CPUS) -> int:
    """The same in cores: for dense arithmetic, of which one thread fills a core.

    Args:
        cpus: where the kernel says which CPUs share a core.
    """
    cores = {_read(cpus / f"cpu{cpu}" / "topology" / "thread_siblings_list") or str(cpu) for cpu in _affinity()}
    return min(len(cores), usable_cpus(proc=proc, cgroups=cgroups))


def limit_threads(environ: MutableMapping[str, str]) -> None:
    """With that environment torch starts no more threads than there are cores, once it is imported.

    By itself it counts the machine's, whatever the quota. What ``OMP_NUM_THREADS`` says already stays.
    """
    if usable_cores() < len(_affinity()):
        environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))


def _affinity() -> set[int]:
    try:
        return os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return set(range(os.cpu_count() or 1))


def _quotas(proc: Path, cgroups: Path) -> Iterator[float]:
    """CPUs' worth of time that each control group of this process, and each above them, is limited to."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root = cgroups
        elif "cpu" in controllers.split(","):
            root = cgroups / "cpu"
        else:
            continue
        # In a container the path can be the host's, of which the mount shows only the container's end: what is not
        # there is passed over, the root of the mount is always looked at.
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts), -1, -1):
            folder = root.joinpath(*parts[:depth])
            said = _read(folder / "cpu.max").split() or [
                _read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")
            ]
            if len(said) == 2 and all(word.isdecimal() and int(word) for word in said):  # "max" and -1: no limit
                yield int(said[0]) / int(said[1])


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

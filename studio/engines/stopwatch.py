"""How long work takes on a device, and which of several candidates is the quickest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

import torch

_RUNS = 5

_LONG_S = 0.3
"""Work that takes longer is run twice instead of five times, and hides what disturbs it by itself."""

_CLEARLY = 0.97
"""What is not clearly quicker does not replace what is there: a busy machine would choose otherwise tomorrow."""


def seconds_of(work: Callable[[], Any], device: torch.device | str) -> float:
    """The median of some runs after two that don't count, by the device's own clock where it has one."""
    device = torch.device(device)
    once = partial(_on_cuda if device.type == "cuda" else _on_host, work, device)
    once()
    first = once()
    return median(once() for _ in range(_RUNS if first < _LONG_S else 2))


def quickest(seconds: Mapping[str, float], default: str) -> str:
    """The name of the least of them; the default where none is clearly less, or nothing was measured."""
    if not seconds:
        return default
    best = min(seconds, key=lambda name: seconds[name])
    return best if default not in seconds or seconds[best] < _CLEARLY * seconds[default] else default


def _on_host(work: Callable[[], Any], device: torch.device) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _on_cuda(work: Callable[[], Any], device: torch.device) -> float:
    with torch.cuda.device(device):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
    return begin.elapsed_time(end) / 1000

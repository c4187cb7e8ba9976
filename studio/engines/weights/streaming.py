"""Units of a module that come and go while it runs: while one computes, the next is on its way.

They share two buffers. A unit's hooks see to it: before it runs, its weights are there; when it has run, its buffer is
filled with the unit after the next, and after the last one the first comes again, for the next pass. What reads a
unit's weights without running it asks for them with `present`.

An error between a unit's two hooks, or a pass that begins anew, costs a copy and nothing else: what a buffer holds is
never taken for another unit's, since a unit that is not there has its empty tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import nn

from studio.engines.weights.carrier import Carrier
from studio.engines.weights.layout import Extent

BUFFERS = 2

_STREAMED: WeakKeyDictionary[nn.Module, tuple[ref[Stream], int]] = WeakKeyDictionary()
"""Module in a streamed unit -> who brings it, and which unit it is in."""


class Stream:
    """Brings units to the device as they run, from the moment it is made until `close`.

    Args:
        units: module and memory of each, in order of execution.
        buffers: on the device (uint8), each as large as the largest unit; one for each unit where these are fewer.
        bring: begins to copy a unit into a buffer; returns the carrier's mark.
    """

    def __init__(
        self,
        units: Sequence[tuple[nn.Module, Extent]],
        buffers: Sequence[torch.Tensor],
        carrier: Carrier,
        bring: Callable[[Extent, torch.Tensor], Any],
    ) -> None:
        assert len(buffers) == min(BUFFERS, len(units)), (len(buffers), len(units))
        self._units = units
        self._buffers = buffers
        self._carrier = carrier
        self._bring = bring
        self._tensors = [[_views(extent, buffer) for buffer in buffers] for _, extent in units]
        self._holds: list[int | None] = [None] * len(buffers)
        self._marks: list[Any] = [None] * len(buffers)
        self._wanted = [0] * len(buffers)
        self._hooks = []
        for i, (module, _) in enumerate(units):
            self._hooks.append(module.register_forward_pre_hook(lambda *_, i=i: self.enter(i)))
            self._hooks.append(module.register_forward_hook(lambda *_, i=i: self.leave(i)))
            _STREAMED.update((m, (ref(self), i)) for m in module.modules())
        self._fetch_after(len(units) - 1)

    def enter(self, i: int) -> None:
        """Unit `i` can be used by what the device is given to do from now on."""
        if i not in self._holds:
            self._fetch(i, keep=())
        b = self._holds.index(i)
        self._carrier.before_what_comes(self._marks[b])
        for slot, tensor in zip(self._units[i][1].slots, self._tensors[i][b], strict=True):
            slot.place.point(tensor)

    def leave(self, i: int) -> None:
        """Unit `i` has been given to the device: its buffer is free once that is done, for the unit after the next."""
        self._fetch_after(i)

    @contextmanager
    def held(self, i: int) -> Iterator[None]:
        """Unit `i` is there for the length of the block, whatever else is used meanwhile."""
        self.enter(i)
        b = self._holds.index(i)
        self._wanted[b] += 1
        try:
            yield
        finally:
            self._wanted[b] -= 1

    def close(self) -> None:
        """The units are empty and run without being brought."""
        self._carrier.wait()
        for hook in self._hooks:
            hook.remove()
        for module, extent in self._units:
            for m in module.modules():
                _STREAMED.pop(m, None)
            _clear(extent)
        self._buffers, self._tensors = (), []

    def _fetch_after(self, i: int) -> None:
        count = len(self._units)
        coming = [(i + step) % count for step in range(1, len(self._buffers) + 1)]
        for n in coming:
            if n not in self._holds:
                self._fetch(n, keep=coming)

    def _fetch(self, i: int, keep: Sequence[int]) -> None:
        free = [b for b, held in enumerate(self._holds) if not self._wanted[b] and (held is None or held not in keep)]
        assert free, f"all {len(self._buffers)} buffers are held; unit {i} finds no room"
        b = free[0]
        leaves, self._holds[b] = self._holds[b], None
        if leaves is not None:
            _clear(self._units[leaves][1])
        extent = self._units[i][1]
        self._carrier.after_what_runs()
        self._marks[b] = self._bring(extent, self._buffers[b][: extent.nbytes])
        self._holds[b] = i


def is_streamed(module: nn.Module) -> bool:
    """True where something in the module comes and goes as it runs."""
    return any(m in _STREAMED for m in module.modules())


@contextmanager
def present(module: nn.Module) -> Iterator[None]:
    """The module's weights can be read for the length of the block, also where they are streamed and it doesn't run.

    For a module in one streamed unit, or around no more of them than there are buffers.
    """
    units = {_STREAMED[m] for m in module.modules() if m in _STREAMED}
    assert len(units) <= BUFFERS, f"{len(units)} streamed units can't be present at once"
    with ExitStack() as held:
        for stream, i in units:
            there = stream()
            assert there is not None
            held.enter_context(there.held(i))
        yield


def stay(units: Sequence[int], resident_bytes: int, first: Sequence[int]) -> frozenset[int]:
    """Which units stay on the device: in the order `first`, every one that still fits into that many bytes."""
    chosen = set()
    for i in first:
        if units[i] <= resident_bytes:
            chosen.add(i)
            resident_bytes -= units[i]
    return frozenset(chosen)


def _views(extent: Extent, buffer: torch.Tensor) -> list[torch.Tensor]:
    return [slot.place.make(slot.within(buffer, extent.begin)) for slot in extent.slots]


def _clear(extent: Extent) -> None:
    for slot in extent.slots:
        slot.place.clear()

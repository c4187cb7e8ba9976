"""Where a module's tensors come from, and where each lies in the one piece of memory that the component takes.

What is in no unit lies first, then unit after unit in order of execution, so that a unit is one range and one copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from studio.engines.place import Place, places

ALIGNED_BYTES = 256
"""Where a tensor may begin: what CUDA's own allocations keep, and its kernels count on."""

Transform = Callable[[torch.Tensor], torch.Tensor]
"""The stored tensor -> the tensor that the module wants; a view."""


@dataclass(frozen=True)
class Source:
    """Bytes in a file that a tensor of the module is made of.

    Args:
        begin: the first of them.
        dtype: as stored.
        shape: of what is read.
        transform: makes the module's tensor of that; None where they are the same bytes in the same order.
    """

    file: Path
    begin: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    transform: Transform | None = None

    @property
    def nbytes(self) -> int:
        """How much is read."""
        return math.prod(self.shape) * self.dtype.itemsize


class Opened(NamedTuple):
    """A component whose files were looked at, and not read yet.

    Args:
        module: on the meta device, but for buffers that no file holds.
        sources: name in the module's state dict -> where it comes from.
        what: for a message: "the unet in svd.safetensors".
    """

    module: nn.Module
    sources: Mapping[str, Source]
    what: str


@dataclass(frozen=True, eq=False)
class Slot:
    """One tensor's place in memory.

    Args:
        begin: its first byte, counted from the start of the memory.
        source: where it comes from; the tensor itself where no file holds it.
        off: how far its first byte is from where one may begin.
        channels_last: the bytes lie in that order of dimensions; shape and numbers are the same.
    """

    place: Place
    dtype: torch.dtype
    begin: int
    source: Source | torch.Tensor
    off: int = 0
    channels_last: bool = False

    @property
    def direct(self) -> bool:
        """True where the file's bytes are the tensor's."""
        source = self.source
        same_order = isinstance(source, Source) and source.transform is None and not self.channels_last
        return same_order and source.dtype == self.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """As the module wants it."""
        return tuple(self.place.empty.shape)

    @cached_property
    def nbytes(self) -> int:
        """Of the tensor."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Where the next may begin."""
        return aligned(self.begin + self.nbytes)

    def within(self, memory: torch.Tensor, start: int = 0) -> torch.Tensor:
        """The tensor as a view of that memory (uint8), whose first byte is the layout's byte `start`."""
        flat = memory[self.begin - start :][: self.nbytes].view(self.dtype)
        if not self.channels_last:
            return flat.view(self.shape)
        count, channels, *over = self.shape
        return flat.view(count, *over, channels).movedim(-1, 1)


class Extent(NamedTuple):
    """Slots that lie side by side."""

    slots: tuple[Slot, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        """What they take together."""
        return self.end - self.begin


@dataclass(frozen=True)
class Layout:
    """A component's memory: `rest` is in no unit and lies first; then the units, in order of execution."""

    rest: Extent
    units: tuple[Extent, ...]

    @property
    def slots(self) -> Iterator[Slot]:
        """All of them, in order."""
        for extent in (self.rest, *self.units):
            yield from extent.slots

    @property
    def nbytes(self) -> int:
        """Of the whole."""
        return self.units[-1].end if self.units else self.rest.end


def source_of(
    file: Path, begin: int, dtype: torch.dtype, shape: Sequence[int], transform: Transform | None = None
) -> Source:
    """What to read for a tensor that is a transform of a stored one.

    Where the transform only picks or renames a stretch of the stored bytes, as most do, that stretch is the source.
    """
    shape = tuple(shape)
    if transform is None:
        return Source(file, begin, dtype, shape)
    stored = torch.empty(shape, dtype=dtype, device="meta")
    wanted = transform(stored)
    if wanted.untyped_storage()._cdata != stored.untyped_storage()._cdata or not wanted.is_contiguous():
        return Source(file, begin, dtype, shape, transform)
    return Source(file, begin + wanted.storage_offset() * dtype.itemsize, dtype, tuple(wanted.shape))


def lay_out(
    opened: Opened,
    dtype: torch.dtype,
    units: Sequence[nn.Module] = (),
    *,
    as_mapped: bool = False,
    channels_last: bool = False,
) -> Layout:
    """The layout of the component in that dtype (for floating point; the rest keeps its own).

    Args:
        units: submodules that share nothing, in order of execution.
        as_mapped: a tensor that could be mapped is off the round address by as much as it is in its file. Kernels for
            the CPU add up in another order by that, and what is streamed should give what the mapped file gives.
        channels_last: so lie the weights of convolutions; what they are given and give follows them.
    """
    unit_of = {module: i for i, unit in enumerate(units) for module in unit.modules()}
    groups: list[list[Slot]] = [[] for _ in range(len(units) + 1)]
    for name, place in places(opened.module).items():
        source = opened.sources.get(name, place.empty)
        wanted = dtype if isinstance(source, Source) and source.dtype.is_floating_point else source.dtype
        if isinstance(source, Source):
            place = place.as_dtype(wanted)
        slot = Slot(place, wanted, 0, source, channels_last=channels_last and _has_order(place))
        if as_mapped and slot.direct and source.begin % wanted.itemsize == 0:
            slot = replace(slot, off=source.begin % ALIGNED_BYTES)
        groups[unit_of.get(place.owner, -1) + 1].append(slot)
    extents, end = [], 0
    for group in groups:
        extents.append(side_by_side(group, end))
        end = extents[-1].end
    return Layout(extents[0], tuple(extents[1:]))


def channels_last(module: nn.Module) -> nn.Module:
    """The same module, the weights of its convolutions now with their channels last: what a layout does on the way."""
    for place in places(module).values():
        if _has_order(place):
            tensor = place.empty.detach()
            place.point(place.make(tensor.movedim(1, -1).contiguous().movedim(-1, 1)))
    return module


def side_by_side(slots: Iterable[Slot], begin: int = 0) -> Extent:
    """The same tensors, one after another from `begin` on."""
    moved, end = [], begin
    for slot in slots:
        moved.append(replace(slot, begin=end + slot.off))
        end = moved[-1].end
    return Extent(tuple(moved), begin, end)


def _has_order(place: Place) -> bool:
    """True of a convolution's weight whose numbers lie otherwise with its channels last."""
    shape = place.empty.shape
    return isinstance(place.owner, nn.Conv2d | nn.Conv3d) and place.leaf == "weight" and math.prod(shape[2:]) > 1


def aligned(count: int) -> int:
    """The next place where a tensor may begin."""
    return -(-count // ALIGNED_BYTES) * ALIGNED_BYTES

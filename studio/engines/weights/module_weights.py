"""`ModuleWeights`: a torch module as a `studio.models.weights.Weights`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import accumulate
from traceback import clear_frames

import torch
from torch import nn

from studio.engines.out_of_memory import must_fit
from studio.engines.place import DTYPES
from studio.engines.weights.carrier import Carrier, carrier_for
from studio.engines.weights.layout import Extent, Opened, Slot, Source, lay_out, side_by_side
from studio.engines.weights.reading import mapped, read_into
from studio.engines.weights.slab import Slab
from studio.engines.weights.streaming import BUFFERS, Stream, stay
from studio.models.weights import Report

_PART_BYTES = 128 << 20
"""What is copied between two looks at whether the user still wants it."""

_STAGE_BYTES = 64 << 20
"""Host memory, twice, on the way from a file straight to a device: one half is filled while the other is copied."""

_REMEDY = "Close what else uses the device, or choose another device."


class ModuleWeights:
    """One component's weights; the module stays the same object, its tensors are pointed to where the weights are.

    Where the device is the host (the CPU) there is no host tier: what the file has in the wanted dtype stays mapped,
    the rest is converted into memory of its own. Elsewhere the host tier is a slab of exactly `device_bytes`, and the
    device gets one allocation of that size.

    Args:
        dtype: "fp16" or "fp32".
        units: submodules that can be streamed, in order of execution.
        stay_first: their numbers, those first that should stay on the device where some can.
        channels_last: the weights of convolutions lie so, on the host already.
    """

    def __init__(
        self,
        opened: Opened,
        device: str,
        dtype: str,
        *,
        units: Sequence[nn.Module] = (),
        stay_first: Sequence[int] = (),
        carrier: Carrier | None = None,
        channels_last: bool = False,
    ) -> None:
        assert sorted(stay_first) == list(range(len(units))), stay_first
        self._module = opened.module.eval().requires_grad_(False)
        self._kind = type(opened.module).__name__  # `exact.rewrite` gives it another
        self._what = opened.what
        self._carrier = carrier or carrier_for(device)
        self._layout = lay_out(
            opened, DTYPES[dtype], units, as_mapped=not self._carrier.separate, channels_last=channels_last
        )
        self._unit_modules = tuple(units)
        self._stay_first = tuple(stay_first)
        self._slab: Slab | None = None
        self._memory: torch.Tensor | None = None
        self._stream: Stream | None = None
        self._held_bytes = 0
        self._clear()

    @property
    def device_bytes(self) -> int:
        """What it takes on the device as a whole, with what aligns its tensors."""
        return self._layout.nbytes

    @property
    def host_bytes(self) -> int:
        """What it takes in host memory of its own now."""
        return self._slab.nbytes if self._slab else 0

    @property
    def held_bytes(self) -> int:
        """What it takes on the device now."""
        return self._held_bytes

    @property
    def units(self) -> tuple[int, ...]:
        """Bytes of the parts that can be streamed, in order of execution."""
        return tuple(extent.nbytes for extent in self._layout.units)

    def streamed_bytes(self, resident_bytes: int) -> int:
        """What `stream` takes on the device with that much of the units staying there."""
        staying = stay(self.units, resident_bytes, self._stay_first)
        streamed = [size for i, size in enumerate(self.units) if i not in staying]
        resident = sum(self.units[i] for i in staying)
        return self._layout.rest.nbytes + resident + min(BUFFERS, len(streamed)) * max(streamed, default=0)

    def read(self, report: Report) -> None:
        """File to host; nothing happens where the device is the host, or where it is there already.

        Raises:
            BadInput: a file is damaged.
            DoesNotFit: there is not enough host memory.
        """
        if not self._carrier.separate or self._slab is not None:
            return
        with self._or_else(self.forget):
            self._slab = Slab(self.device_bytes)
            self._fill(tuple(self._layout.slots), self._slab.memory, report)
            self._carrier.pin(self._slab)

    def forget(self) -> None:
        """The host's memory is given back. Not while it streams: then it is what comes and goes."""
        assert self._stream is None or not self._carrier.separate, "it is streamed from there"
        if self._slab is not None:
            self._carrier.wait()
            self._slab.close()
            self._slab = None

    def place(self, report: Report) -> nn.Module:
        """The module, whole on the device: from the host in one bulk copy, else straight from the file.

        Raises:
            BadInput: a file is damaged.
            DoesNotFit: memory ran out.
        """
        assert not self._held_bytes, "it is there already"
        with self._or_else(self.displace):
            if not self._carrier.separate:
                self._place_on_host(report)
            else:
                self._memory = self._carrier.empty(self.device_bytes)
                if self._slab is not None:
                    self._carry([(self._memory, self._slab.memory)], report)
                else:
                    self._carry_from_file(self._memory, report)
                self._point(self._layout.slots, self._memory)
            self._held_bytes = self.device_bytes
        return self._module

    def stream(self, resident_bytes: int, report: Report) -> nn.Module:
        """The module, with units worth at most `resident_bytes` staying on the device and the others coming and going.

        Needs the host tier; on the CPU they come from the file. What reads the weights of a unit without running it
        does so under `studio.engines.weights.streaming.present`.

        Raises:
            BadInput: a file is damaged.
            DoesNotFit: memory ran out.
        """
        assert not self._held_bytes, "it is there already"
        assert self._slab is not None or not self._carrier.separate, "a stream needs the host tier"
        with self._or_else(self.displace):
            self._begin_stream(resident_bytes, report)
        return self._module

    def displace(self) -> None:
        """The device's memory is given back, and the module is empty; nothing is copied back."""
        self._carrier.wait()
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._clear()
        self._memory = None
        self._held_bytes = 0

    def digest(self, report: Report) -> str:
        """The sha256, in hex, of the network's class and of its tensors as they are on the device: names in order of
        the alphabet, dtypes, shapes, bytes. The same from whatever files they come, and however they lie.

        Raises:
            BadInput: a file is damaged.
        """
        found = hashlib.sha256(self._kind.encode())
        slots = sorted(self._from_files(), key=lambda slot: slot.place.name)
        total, done = sum(slot.source.nbytes for slot in slots), 0
        report(done, total)
        for slot in slots:
            found.update(f"\n{slot.place.name} {slot.dtype} {slot.shape}\n".encode())
            (alone,) = side_by_side([slot]).slots
            memory = (
                self._slab.memory[slot.begin - alone.begin :]
                if self._slab
                else torch.empty(alone.end, dtype=torch.uint8)
            )
            if not self._slab:
                for _ in read_into([alone], memory):
                    pass
            tensor = alone.within(memory).contiguous()
            found.update(tensor.flatten().view(torch.uint8).numpy())
            done += slot.source.nbytes
            report(done, total)
        return found.hexdigest()

    @contextmanager
    def _or_else(self, undo: Callable[[], None]) -> Iterator[None]:
        """Where the block fails, nothing that it took stays taken."""
        with must_fit(self._what, _REMEDY):
            try:
                yield
            except BaseException as e:
                # The error's trace holds the frames that hold the memory.
                clear_frames(e.__traceback__)
                undo()
                raise

    def _place_on_host(self, report: Report) -> None:
        slots = self._from_files()
        total, done = sum(slot.source.nbytes for slot in slots), 0
        report(done, total)
        there = mapped(slots)
        for slot, tensor in there.items():
            slot.place.point(slot.place.make(tensor))
            done += slot.source.nbytes
            report(done, total)
        converted = side_by_side(slot for slot in slots if slot not in there)
        self._memory = self._carrier.empty(converted.nbytes)
        self._fill(converted.slots, self._memory, report, done=done, total=total)
        self._point(converted.slots, self._memory)

    def _begin_stream(self, resident_bytes: int, report: Report) -> None:
        staying = stay(self.units, resident_bytes, self._stay_first)
        streamed = [i for i in range(len(self.units)) if i not in staying]
        extents = [self._layout.rest, *(self._layout.units[i] for i in sorted(staying))]
        begins = [0, *accumulate(extent.nbytes for extent in extents)]
        self._memory = self._carrier.empty(self.streamed_bytes(resident_bytes))
        self._held_bytes = self._memory.numel()
        targets = [self._memory[at:][: extent.nbytes] for extent, at in zip(extents, begins, strict=False)]
        self._carry_extents(extents, targets, report)
        for extent, target in zip(extents, targets, strict=True):
            self._point(extent.slots, target, extent.begin)
        if streamed:
            pairs = [(self._unit_modules[i], self._layout.units[i]) for i in streamed]
            buffers = self._memory[begins[-1] :].split(max(self.units[i] for i in streamed))
            self._stream = Stream(pairs, buffers, self._carrier, self._bring)

    def _carry_extents(self, extents: Sequence[Extent], targets: Sequence[torch.Tensor], report: Report) -> None:
        if self._slab is not None:
            host = self._slab.memory
            self._carry([(to, host[e.begin : e.end]) for e, to in zip(extents, targets, strict=True)], report)
            return
        total, done = sum(s.source.nbytes for e in extents for s in e.slots if isinstance(s.source, Source)), 0
        report(done, total)
        for extent, target in zip(extents, targets, strict=True):
            done = self._fill(extent.slots, target, report, extent.begin, done=done, total=total)

    def _carry(self, pairs: Sequence[tuple[torch.Tensor, torch.Tensor]], report: Report) -> None:
        """Copies each `of` to its `to`, in parts; all is there when it returns."""
        total, done = sum(of.numel() for _, of in pairs), 0
        report(done, total)
        before = None  # the part before is on its way while the next is begun
        for to, of in pairs:
            for part_to, part_of in zip(to.split(_PART_BYTES), of.split(_PART_BYTES), strict=True):
                mark = self._carrier.copy(part_to, part_of)
                if before is not None:
                    self._carrier.wait(before[0])
                    done += before[1]
                    report(done, total)
                before = (mark, part_of.numel())
        self._carrier.wait()
        report(total, total)

    def _carry_from_file(self, memory: torch.Tensor, report: Report) -> None:
        """File to device through two small slabs, one filled while the other is copied."""
        windows = list(_windows(self._layout.slots))
        total, done = sum(slot.source.nbytes for slot in self._from_files()), 0
        report(done, total)
        stages = [Slab(max(window.nbytes for window in windows)) for _ in range(min(2, len(windows)))]
        marks = [None] * len(stages)
        try:
            for stage in stages:
                self._carrier.pin(stage)
            for i, window in enumerate(windows):
                stage = stages[i % 2]
                if marks[i % 2] is not None:
                    self._carrier.wait(marks[i % 2])
                done = self._fill(window.slots, stage.memory, report, window.begin, done=done, total=total)
                marks[i % 2] = self._carrier.copy(memory[window.begin : window.end], stage.memory[: window.nbytes])
        finally:
            self._carrier.wait()
            for stage in stages:
                stage.close()

    def _fill(
        self,
        slots: Sequence[Slot],
        memory: torch.Tensor,
        report: Report,
        start: int = 0,
        *,
        done: int = 0,
        total: int | None = None,
    ) -> int:
        """Files to host memory; returns `done` with what was read added."""
        if total is None:
            total = sum(slot.source.nbytes for slot in slots if isinstance(slot.source, Source))
            report(done, total)
        with closing(read_into(slots, memory, start)) as counts:
            for count in counts:
                done += count
                report(done, total)
        return done

    def _bring(self, extent: Extent, buffer: torch.Tensor) -> object:
        if self._slab is not None:
            return self._carrier.copy(buffer, self._slab.memory[extent.begin : extent.end])
        for _ in read_into(extent.slots, buffer, extent.begin):
            pass
        return None

    def _from_files(self) -> list[Slot]:
        return [slot for slot in self._layout.slots if isinstance(slot.source, Source)]

    @staticmethod
    def _point(slots: Iterable[Slot], memory: torch.Tensor, start: int = 0) -> None:
        for slot in slots:
            slot.place.point(slot.place.make(slot.within(memory, start)))

    def _clear(self) -> None:
        for slot in self._layout.slots:
            slot.place.clear()


def _windows(slots: Iterable[Slot]) -> Iterator[Extent]:
    """Neighbours together, as many as a stage takes, at least one."""
    window: list[Slot] = []
    for slot in slots:
        if window and slot.end - window[0].begin > _STAGE_BYTES:
            yield Extent(tuple(window), window[0].begin, window[-1].end)
            window = []
        window.append(slot)
    if window:
        yield Extent(tuple(window), window[0].begin, window[-1].end)

"""`Residency`: which weights lie where. Pure policy over `Weights`, the same for CUDA and for a simulated device.

- What is pinned is never displaced, nothing is displaced when what is wanted fits, and nobody waits for pinned room:
  what can't be had now is refused, so that no two can wait for each other.
- Leaving the device keeps the host's copy; leaving either is a free. Nothing is ever copied back.
- Moves are made outside the lock with their room reserved. One at a time per component: who wants what is on its way
  waits for it, and takes over where it fails.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from studio.models.eviction import Choose, Coming, cheapest_future
from studio.models.holding import Decision, Heard, Holding, Move, Moved
from studio.models.room import PING_S, Room
from studio.models.weights import Report, Weights

_ABSENT_KEPT = 16
"""Weights that lie nowhere, but whose next move need not open their files anew."""


class _Stopped(Exception):
    """A prefetch gave way to something that is wanted now."""


class Residency:
    """Keeps components on the device and in host memory within two budgets.

    Args:
        device_budget: most bytes of weights and reserved working memory together; None where nobody knows a limit.
            Asked anew for every decision, with the residency's (re-entrant) lock held.
        host_budget: most bytes of weights in host memory; None where the device is the host, so that there is nothing
            to wait in. Asked likewise.
        empty_cache: called after weights left the device to make room.
        clock: for `decisions`.
        choose: who has to go (`studio.models.eviction`).
    """

    def __init__(
        self,
        *,
        device_budget: Callable[[], int | None],
        host_budget: Callable[[], int | None],
        empty_cache: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        choose: Choose = cheapest_future,
    ) -> None:
        self._room = Room(device_budget, host_budget, empty_cache, clock, choose)
        self._lock = self._room.lock

    @property
    def decisions(self) -> list[Decision]:
        """The last hundred, the newest last."""
        with self._lock:
            return list(self._room.decisions)

    @property
    def moved(self) -> Moved:
        """Bytes moved since the start."""
        return self._room.moved

    def acquire(
        self,
        key: Hashable,
        open: Callable[[], Weights],
        *,
        component: str,
        variant: str,
        report: Report,
        resident_bytes: int | None = None,
    ) -> Holding:
        """The component on the device and pinned until `release`.

        Args:
            open: makes its weights; called where they aren't known.
            report: hears of the move and, with (0, 0), of waiting for another's; raises to end it.
            resident_bytes: stream it, with units worth so many bytes staying; None: whole. What is held whole serves a
                stream too; what is in use serves as it is.

        Raises:
            DoesNotFit: there is no room beside what is in use. Nothing of it stays then.
        """
        while True:
            with self._lock:
                holding = self._room.holdings.get(key)
                if holding is None or holding.move is None:
                    if holding is not None and self._serves(holding, resident_bytes):
                        holding.variants.add(variant)
                        holding.pins += 1
                        self._room.touch(holding)
                        return holding
                    holding = self._begin(holding or Holding(key, component), variant, resident_bytes, prefetch=False)
                    break
                self._lock.wait(PING_S)
            report(0, 0)
        try:
            self._bring(holding, open, resident_bytes, report)
        except BaseException:
            self._give_up(holding)
            raise
        return holding

    def release(self, holding: Holding) -> None:
        """Ends one `acquire`; the component stays until its room is wanted."""
        with self._lock:
            assert holding.pins > 0, "released more often than acquired"
            holding.pins -= 1

    @contextmanager
    def reserve(
        self, working_bytes: int, *, keep: Collection[Hashable] = (), report: Report = lambda done, total: None
    ) -> Iterator[None]:
        """So many bytes of the device are left free for the length of the block.

        Args:
            keep: what the phase takes, in that order; of what is idle, it goes last.
            report: hears (0, 0) while a prefetch makes way; raises to end the wait.

        Raises:
            DoesNotFit: they can't be had beside what is in use and reserved.
        """
        mine = Coming(tuple(keep), working_bytes)
        self._room.take(working_bytes, "working memory", mine, lambda: self._room.reserved.append(mine), report)
        try:
            yield
        finally:
            with self._lock:
                self._room.reserved[:] = [other for other in self._room.reserved if other is not mine]

    def leave_only(self, keys: Collection[Hashable]) -> int:
        """Everything idle but these leaves the device; the bytes that were freed."""
        with self._lock:
            freed = 0
            for holding in self._room.idle():
                if holding.key not in keys:
                    freed += self._room.displace(holding, "the coming phase doesn't need it")
            if freed:
                self._room.empty_cache()
            return freed

    def expect(self, coming: Sequence[Hashable | Coming], sizes: Mapping[Hashable, int] | None = None) -> None:
        """What will be used after the present phase, in order; replaces what was expected before.

        Args:
            coming: phases, or keys for phases of which only that is known.
            sizes: bytes on the device of what hasn't been acquired yet; what is missing can't be reckoned with.
        """
        phases = [phase if isinstance(phase, Coming) else Coming((phase,)) for phase in coming]
        with self._lock:
            self._room.expect(phases, sizes or {})

    def prefetch(
        self,
        key: Hashable,
        open: Callable[[], Weights],
        *,
        component: str,
        variant: str,
        report: Report,
        resident_bytes: int | None = None,
    ) -> bool:
        """The component nearer to the device before it is wanted; True where it is as near as there is room for.

        It goes to the device if there is room or only what is expected later has to go for it, else to host memory.
        An `acquire` or `reserve` that wants the room ends it: False then, and where there is room in neither.
        """
        with self._lock:
            holding = self._room.holdings.get(key)
            if holding is not None and (holding.move is not None or holding.thing is not None):
                return True
            holding = self._begin(holding or Holding(key, component), variant, resident_bytes, prefetch=True)
        try:
            return self._bring_early(holding, open, resident_bytes, report)
        except BaseException as error:
            self._give_up(holding)
            if isinstance(error, _Stopped):
                return False
            raise

    def drop_idle(self, *, host: bool = True) -> int:
        """Everything idle leaves the device and, if wanted, the host; the bytes that were freed on both."""
        with self._lock:
            why = "idle weights are unloaded"
            freed = on_device = sum([self._room.displace(holding, why) for holding in self._room.idle()])
            for holding in [h for h in self._room.holdings.values() if host and h.idle]:
                freed += self._room.forget(holding, why)
                del self._room.holdings[holding.key]
            if on_device:
                self._room.empty_cache()
            return freed

    def note(self, what: str, why: str) -> None:
        """Somebody else's decision stands among the `decisions`."""
        with self._lock:
            self._room.decided(what, why)

    def held_bytes(self) -> int:
        """Weights on the device and on their way there."""
        with self._lock:
            return sum(holding.device_bytes for holding in self._room.holdings.values())

    def reserved_bytes(self) -> int:
        """Working memory that is reserved."""
        with self._lock:
            return sum(phase.working_bytes for phase in self._room.reserved)

    def host_held_bytes(self) -> int:
        """Weights in host memory and on their way there."""
        with self._lock:
            return sum(holding.host_bytes for holding in self._room.holdings.values())

    def rows(self) -> list[dict[str, Any]]:
        """Every component that takes room, as plain data; `next_use`: phases before it, None where none is known."""
        with self._lock:
            return [
                {
                    "key": holding.key,
                    "component": holding.component,
                    "variants": sorted(holding.variants),
                    "device_bytes": holding.device_bytes,
                    "host_bytes": holding.host_bytes,
                    "tier": holding.tier,
                    "leases": holding.pins,
                    "next_use": None if (phases := self._room.distance(holding.key)) == math.inf else int(phases),
                }
                for holding in self._room.holdings.values()
                if holding.tier != "file"
            ]

    # One move: begun under the lock, made outside it, ended under it.

    def _serves(self, holding: Holding, resident_bytes: int | None) -> bool:
        """What is in use serves as it is: it can't be placed anew."""
        return holding.pins > 0 or (holding.serves(resident_bytes) and self._room.within_budget(holding))

    def _begin(self, holding: Holding, variant: str, resident_bytes: int | None, *, prefetch: bool) -> Holding:
        if holding.device_bytes:  # in another form than the one wanted
            assert holding.weights is not None
            self._room.must_be_possible(holding.title, _form(holding.weights, resident_bytes)[1])
            self._room.displace(holding, "it is wanted in another form")
        self._room.holdings[holding.key] = holding
        holding.variants.add(variant)
        holding.move = Move(prefetch)
        holding.pins += not prefetch
        return holding

    def _bring(self, holding: Holding, open: Callable[[], Weights], resident_bytes: int | None, report: Report) -> None:
        move = holding.move
        assert move is not None
        holding.weights = holding.weights or open()
        form, wanted = _form(holding.weights, resident_bytes)
        holding.form_bytes = wanted
        with self._lock:
            self._room.must_be_possible(holding.title, wanted)
        if self._room.take_host(holding, required=form is not None, report=report):
            self._read(holding, move, report)

        def take() -> None:
            move.device_bytes = wanted

        self._room.take(wanted, holding.title, Coming((holding.key,)), take, report)
        self._place(holding, move, form, report)

    def _bring_early(
        self, holding: Holding, open: Callable[[], Weights], resident_bytes: int | None, report: Report
    ) -> bool:
        move = holding.move
        assert move is not None

        def heard(done_bytes: int, total_bytes: int) -> None:
            if move.stopped:
                raise _Stopped
            report(done_bytes, total_bytes)

        holding.weights = holding.weights or open()
        form, wanted = _form(holding.weights, resident_bytes)
        holding.form_bytes = wanted
        if self._room.take_host(holding, required=False, report=heard):
            self._read(holding, move, heard)
        on_host = holding.weights.host_bytes > 0
        if (form is None or on_host or self._room.device_is_host()) and self._room.take_from_later(holding, wanted):
            self._place(holding, move, form, heard)
            return True
        with self._lock:
            self._end(holding)
        return on_host

    def _read(self, holding: Holding, move: Move, report: Report) -> None:
        assert holding.weights is not None
        heard = Heard(report)
        move.reading = True
        try:
            holding.weights.read(heard)
        except BaseException:
            with self._lock:
                self._room.moved.read_bytes += heard.done_bytes
            raise
        with self._lock:
            move.reading = False
            self._room.moved.read_bytes += holding.weights.host_bytes
            self._room.decided(f"read {holding.title} into host memory", "the next swap is one copy from there")

    def _place(self, holding: Holding, move: Move, form: int | None, report: Report) -> None:
        weights = holding.weights
        assert weights is not None
        from_host = weights.host_bytes > 0
        heard = Heard(report)
        whole = False
        try:
            thing = weights.place(heard) if form is None else weights.stream(form, heard)
            whole = form is None
        finally:
            with self._lock:
                # Of a stream, only what stays has been moved; from a file of another dtype, fewer or more were read.
                self._room.moved.host_to_device_bytes += weights.held_bytes if whole else heard.done_bytes
                self._room.moved.read_bytes += 0 if from_host else heard.done_bytes
        with self._lock:
            holding.thing, holding.resident_bytes = thing, form
            how = "" if form is None else f", streamed with {form / 1e9:.2f} GB staying"
            self._room.decided(
                f"{'prefetched' if move.prefetch else 'placed'} {holding.title}{how}",
                "from host memory" if from_host else "from its file",
            )
            self._end(holding)

    def _end(self, holding: Holding) -> None:
        holding.move = None
        self._room.touch(holding)
        absent = [other for other in self._room.holdings.values() if other.idle and other.tier == "file"]
        for other in sorted(absent, key=lambda other: other.used)[:-_ABSENT_KEPT]:
            del self._room.holdings[other.key]
        self._lock.notify_all()

    def _give_up(self, holding: Holding) -> None:
        """The move failed: nothing that it began stays; what was in host memory before does."""
        with self._lock:
            move, weights = holding.move, holding.weights
            assert move is not None
            holding.pins -= not move.prefetch
            try:
                if weights is not None and weights.held_bytes:
                    weights.displace()
                if weights is not None and move.reading and weights.host_bytes:
                    weights.forget()
            finally:
                holding.move = None
                if holding.tier == "file":
                    del self._room.holdings[holding.key]
                self._lock.notify_all()


def _form(weights: Weights, resident_bytes: int | None) -> tuple[int | None, int]:
    """(resident bytes, or None for whole; what it takes on the device in that form)."""
    streamed = weights.device_bytes if resident_bytes is None else weights.streamed_bytes(resident_bytes)
    # Two buffers of a large unit beside what stays can be more than the whole.
    return (None, weights.device_bytes) if streamed >= weights.device_bytes else (resident_bytes, streamed)

"""`Room`: what takes how much on the device and in host memory, and how room is made there."""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

from studio.errors import DoesNotFit
from studio.models.eviction import Choose, Coming, Item, Outlook, farthest
from studio.models.holding import Decision, Holding, Moved
from studio.models.weights import Report

log = logging.getLogger(__name__)

PING_S = 0.1
"""How often one who waits for another's move is asked whether it is still wanted."""

_READ_COST = 8.0
"""A byte from the file takes as long as so many from the host: 3 GB/s of a disk against 25 GB/s of a bus."""


class Room:
    """The holdings, what is reserved beside them, and what is expected. Its lock guards all of it.

    Methods with "the lock is held" in their first line are for callers that hold it; the others take it.
    """

    def __init__(
        self,
        device_budget: Callable[[], int | None],
        host_budget: Callable[[], int | None],
        empty_cache: Callable[[], None],
        clock: Callable[[], float],
        choose: Choose,
    ) -> None:
        self.lock = threading.Condition()
        self.holdings: dict[Hashable, Holding] = {}
        self.reserved: list[Coming] = []
        self.coming: list[Coming] = []
        self.sizes: dict[Hashable, int] = {}
        self.decisions: deque[Decision] = deque(maxlen=100)
        self.moved = Moved()
        self.empty_cache = empty_cache
        self._device_budget = device_budget
        self._host_budget = host_budget
        self._clock = clock
        self._choose = choose
        self._uses = 0

    # The device

    def must_be_possible(self, title: str, wanted_bytes: int) -> None:
        """Returns if so many bytes could be had; the lock is held. Asked before anything is read or displaced.

        Raises:
            DoesNotFit: they can't be had beside what is in use.
        """
        budget = self._device_budget()
        fixed = self.taken() - _device_bytes(self.idle()) - _device_bytes(self._prefetches())
        if budget is not None and fixed + wanted_bytes > budget:
            raise _does_not_fit(title, wanted_bytes, fixed, budget)

    def take(self, wanted_bytes: int, title: str, now: Coming, take: Callable[[], None], report: Report) -> None:
        """So many bytes are there and `take` was called with the lock held: what is idle, and prefetches, gave way.

        Raises:
            DoesNotFit: what is in use leaves too little. It isn't waited for.
        """
        displaced = False
        while True:
            with self.lock:
                if displaced:
                    self.empty_cache()
                budget = self._device_budget()
                over = 0 if budget is None else self.taken() + wanted_bytes - budget
                if budget is None or over <= 0:
                    take()
                    return
                idle = self.idle()
                if _device_bytes(idle) >= over:
                    for key in self._choose(self._outlook(idle, budget, now), over):
                        victim = self.holdings[key]
                        self.displace(victim, f"{self._when(victim)}; makes room for {title}")
                    displaced = True
                    continue  # the budget can depend on what is free, so it is asked again
                prefetches = [holding for holding in self._prefetches() if holding.device_bytes]
                if not prefetches:
                    raise _does_not_fit(title, wanted_bytes, self.taken() - _device_bytes(idle), budget)
                self._stop(prefetches, title)
                self.lock.wait(PING_S)
            report(0, 0)

    def take_from_later(self, holding: Holding, wanted_bytes: int) -> bool:
        """Room for a prefetch, reserved if True: what is free, and what only later phases use."""
        with self.lock:
            budget = self._device_budget()
            over = 0 if budget is None else self.taken() + wanted_bytes - budget
            if budget is not None and over > 0:
                mine = self.distance(holding.key)
                needed = {key for phase in self.reserved for key in phase.keys}
                later = [h for h in self.idle() if h.key not in needed and self.distance(h.key) > mine]
                if _device_bytes(later) < over:
                    return False
                for key in farthest(self._outlook(later, budget, Coming(())), over):
                    victim = self.holdings[key]
                    self.displace(victim, f"{self._when(victim)}; makes room for {holding.title}, which comes before")
                self.empty_cache()
            assert holding.move is not None
            holding.move.device_bytes = wanted_bytes
            return True

    def within_budget(self, holding: Holding) -> bool:
        """Whether that holding can stay as it is; other idle ones go if the budget shrank. The lock is held."""
        budget = self._device_budget()
        over = 0 if budget is None else self.taken() - budget
        if budget is None or over <= 0:
            return True
        others = [other for other in self.idle() if other is not holding]
        if _device_bytes(others) < over:
            return False
        for key in self._choose(self._outlook(others, budget, Coming((holding.key,))), over):
            victim = self.holdings[key]
            self.displace(victim, f"{self._when(victim)}; the device has less room than before")
        self.empty_cache()
        return True

    def displace(self, holding: Holding, why: str) -> int:
        """The holding is off the device; the bytes that were freed. The lock is held."""
        assert holding.weights is not None
        freed = holding.weights.held_bytes
        holding.thing = holding.resident_bytes = None
        holding.weights.displace()
        self.decided(f"displaced {holding.title}", why)
        return freed

    # Host memory

    def take_host(self, holding: Holding, *, required: bool, report: Report) -> bool:
        """Whether its weights are to be read into host memory now; the room for them is reserved if so.

        Raises:
            DoesNotFit: it is required, and there is no room.
        """
        assert holding.weights is not None
        assert holding.move is not None
        if holding.weights.host_bytes:
            return False
        wanted = holding.weights.device_bytes
        while True:
            with self.lock:
                budget = self._host_budget()
                if budget is None:
                    return False
                over = sum(other.host_bytes for other in self.holdings.values()) + wanted - budget
                if over <= 0:
                    holding.move.host_bytes = wanted
                    return True
                idle = self._host_idle(holding, required)
                if sum(other.host_bytes for other in idle) >= over:
                    self._forget_until(over, idle, holding.title)
                    continue
                if not required:
                    return False
                prefetches = [other for other in self._prefetches() if other.move and other.move.host_bytes]
                if not prefetches:
                    raise DoesNotFit(
                        f"Streaming {holding.title} needs {_gb(wanted)} of host memory, and {_gb(budget)} are allowed.",
                        "Close other programs, or allow more with --ram-budget.",
                    )
                self._stop(prefetches, holding.title)
                self.lock.wait(PING_S)
            report(0, 0)

    def device_is_host(self) -> bool:
        """Weights need not wait in host memory: they are where they are used."""
        return self._host_budget() is None

    def forget(self, holding: Holding, why: str) -> int:
        """Its host memory is given back; the bytes that were freed. The lock is held."""
        freed = holding.host_bytes
        if freed:
            assert holding.weights is not None
            holding.weights.forget()
            self.decided(f"dropped {holding.title} from host memory", why)
        return freed

    def _host_idle(self, holding: Holding, required: bool) -> list[Holding]:
        """Whose host memory could go for that holding's. A stream needs its own for as long as it lasts."""
        there = [other for other in self.holdings.values() if other.host_bytes and other.move is None]
        if required:
            return [other for other in there if other.resident_bytes is None or not other.pins]
        mine = self.distance(holding.key)
        # Of two that nobody expects, the one that is used now stays.
        farther = [h for h in there if (theirs := self.distance(h.key)) > mine or theirs == math.inf]
        return [other for other in farther if other.resident_bytes is None]

    def _forget_until(self, over: int, idle: Iterable[Holding], title: str) -> None:
        for victim in sorted(idle, key=lambda other: (-self.distance(other.key), other.used)):
            if over <= 0:
                return
            over -= victim.host_bytes
            if victim.resident_bytes is not None:
                self.displace(victim, f"it was streamed; its host memory makes room for {title}")
            self.forget(victim, f"{self._when(victim)}; makes room for {title}")

    # What is there and what is to come; the lock is held

    def taken(self) -> int:
        """Bytes of the device that weights and reserved working memory take."""
        return _device_bytes(self.holdings.values()) + sum(phase.working_bytes for phase in self.reserved)

    def idle(self) -> list[Holding]:
        """What could be displaced."""
        return [holding for holding in self.holdings.values() if holding.idle and holding.device_bytes]

    def distance(self, key: Hashable) -> float:
        """Phases that come before the one that uses it; infinite where none is known."""
        return next((i for i, phase in enumerate(self.coming) if key in phase.keys), math.inf)

    def expect(self, coming: Sequence[Coming], sizes: Mapping[Hashable, int]) -> None:
        """What comes after the present phase, and the sizes of what hasn't been here yet."""
        self.coming = list(coming)
        self.sizes = dict(sizes)

    def touch(self, holding: Holding) -> None:
        """It is the last used now."""
        self._uses += 1
        holding.used = self._uses

    def decided(self, what: str, why: str) -> None:
        """It is written down."""
        log.info("%s: %s", what, why)
        self.decisions.append(Decision(self._clock(), what, why))

    def _prefetches(self) -> list[Holding]:
        return [holding for holding in self.holdings.values() if holding.move is not None and holding.move.prefetch]

    def _stop(self, prefetches: Iterable[Holding], title: str) -> None:
        for holding in prefetches:
            if holding.move is not None and not holding.move.stopped:
                holding.move.stopped = True
                self.decided(f"stopped the prefetch of {holding.title}", f"{title} is wanted now")

    def _outlook(self, candidates: Collection[Holding], budget: int, now: Coming) -> Outlook:
        items = {key: Item(nbytes, nbytes) for key, nbytes in self.sizes.items()}
        for holding in self.holdings.values():
            nbytes = holding.device_bytes or holding.form_bytes or self.sizes.get(holding.key, 0)
            dearer = 1.0 if holding.host_bytes or not holding.form_bytes else 1.0 + _READ_COST
            items[holding.key] = Item(nbytes, nbytes * dearer, holding.used)
        phases = (*self.reserved, now)
        present = [holding.key for holding in self.holdings.values() if holding.device_bytes]
        return Outlook(
            items=items,
            present=present,
            pinned=set(present) - {holding.key for holding in candidates},
            budget_bytes=budget,
            now=Coming(
                _known(items, (key for phase in phases for key in phase.keys)), sum(p.working_bytes for p in phases)
            ),
            coming=[Coming(_known(items, phase.keys), phase.working_bytes) for phase in self.coming],
        )

    def _when(self, holding: Holding) -> str:
        distance = self.distance(holding.key)
        if distance == math.inf:
            return "no use of it is known"
        return "next used in the next phase" if distance == 0 else f"next used in {int(distance) + 1} phases"


def _known(items: Collection[Hashable], keys: Iterable[Hashable]) -> tuple[Hashable, ...]:
    """Each once; what was never here and whose size nobody told can't be reckoned with."""
    return tuple(key for key in dict.fromkeys(keys) if key in items)


def _device_bytes(holdings: Iterable[Holding]) -> int:
    return sum(holding.device_bytes for holding in holdings)


def _gb(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB"


def _does_not_fit(title: str, wanted_bytes: int, taken_bytes: int, budget_bytes: int) -> DoesNotFit:
    left = max(budget_bytes - taken_bytes, 0)
    return DoesNotFit(
        f"{title} needs {_gb(wanted_bytes)} of the device; {_gb(left)} of {_gb(budget_bytes)} are left beside what is "
        "in use.",
        "Close other programs that use the device, ask for fewer frames or a smaller size, or raise --vram-budget.",
    )

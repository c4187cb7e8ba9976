"""Who has to go when room is wanted on the device: pure functions over what lies there and what is to come.

Dropping what is used again last moves the fewest bytes where all are of one size (Belady, IBM Systems Journal 5(2),
1966). Components are of very different sizes and the room changes from phase to phase; no rule of thumb is right then,
but there are few components, so `cheapest_future` finds the optimum of the known future exactly: dynamic programming
backwards over the phases, with the sets of components that could lie on the device as states. Of equally cheap
choices it takes the one that drops what is used again last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_MOST_KEYS = 12
"""Components that are told apart, the first to be used again: 4,096 states, some 0.1 ms a phase."""


@dataclass(frozen=True)
class Coming:
    """A phase to come.

    Args:
        keys: the components that it holds at once, in the order in which it takes them.
        working_bytes: what it takes beside them.
    """

    keys: tuple[Hashable, ...]
    working_bytes: int = 0


@dataclass(frozen=True)
class Item:
    """A component as eviction sees it.

    Args:
        nbytes: that it takes, or took or will take, on the device.
        cost: of bringing it back; any unit, the same for all.
        used: when it was last used; larger is later.
    """

    nbytes: int
    cost: float
    used: int = 0


@dataclass(frozen=True)
class Outlook:
    """All that the choice may know.

    Args:
        items: everything that is on the device, or named by a phase.
        present: what is on the device.
        pinned: what of it can't be displaced now.
        budget_bytes: for weights and working memory together.
        now: the phase in which room is wanted, that want included.
        coming: what follows, in order.
    """

    items: Mapping[Hashable, Item]
    present: Collection[Hashable]
    pinned: Collection[Hashable]
    budget_bytes: int
    now: Coming
    coming: Sequence[Coming]

    def distance(self, key: Hashable) -> float:
        """Phases before the one that uses it; infinite where none is known."""
        if key in self.now.keys:
            return 0
        return next((i for i, phase in enumerate(self.coming, start=1) if key in phase.keys), math.inf)

    def farthest_first(self, keys: Iterable[Hashable]) -> list[Hashable]:
        """By next use, the farthest first; of those without a known one, the least recently used first."""
        return sorted(keys, key=lambda key: (-self.distance(key), self.items[key].used))

    def idle(self) -> list[Hashable]:
        """What could go, the farthest next use first."""
        return self.farthest_first(key for key in self.present if key not in self.pinned)


Choose = Callable[[Outlook, int], list[Hashable]]
"""Names the victims that free at least so many bytes together; there are enough."""


def farthest(outlook: Outlook, wanted_bytes: int) -> list[Hashable]:
    """The victims by next use alone: the farthest first, and none that the others make superfluous."""
    return _enough(outlook, outlook.idle(), wanted_bytes)


def cheapest_future(outlook: Outlook, wanted_bytes: int) -> list[Hashable]:
    """The victims with which what is known of the future costs least."""
    idle = outlook.idle()
    states = _States(outlook)
    useless = [key for key in idle if key not in states.bits]
    if sum(outlook.items[key].nbytes for key in useless) >= wanted_bytes:
        return _enough(outlook, useless, wanted_bytes)
    staying = states.best()
    order = [*useless, *(key for key in idle if key in states.bits and key not in staying)]
    # What stays by the plan goes only where the phase can't have all that it needs at once.
    return _enough(outlook, [*order, *(key for key in idle if key in staying)], wanted_bytes)


def _enough(outlook: Outlook, order: Sequence[Hashable], wanted_bytes: int) -> list[Hashable]:
    """The first of them that are enough; the last named are saved first if the others make them superfluous."""
    victims: list[Hashable] = []
    spare = -wanted_bytes
    for key in order:
        if spare >= 0:
            break
        victims.append(key)
        spare += outlook.items[key].nbytes
    for key in reversed(victims):
        if outlook.items[key].nbytes <= spare:
            spare -= outlook.items[key].nbytes
            victims.remove(key)
    return victims


class _States:
    """Sets of the components that are used again, as bit masks; a nearer next use is a higher bit."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self._phases: list[Coming] = []
        used: dict[Hashable, None] = dict.fromkeys(outlook.now.keys)
        for phase in outlook.coming:
            if len({*used, *phase.keys}) > max(_MOST_KEYS, len(outlook.now.keys)):
                break
            used.update(dict.fromkeys(phase.keys))
            self._phases.append(phase)
        self.bits = {key: 1 << i for i, key in enumerate(outlook.farthest_first(used))}
        self._nbytes = self._sums(lambda item: item.nbytes)
        self._costs = self._sums(lambda item: item.cost)
        self._all = np.arange(1 << len(self.bits))

    def best(self) -> set[Hashable]:
        """What of the present stays, after this phase has all that it needs."""
        outlook = self._outlook
        future = self._future()
        present = self._mask(outlook.present)
        needed = self._mask(outlook.now.keys) | self._mask(outlook.pinned)
        others = sum(outlook.items[key].nbytes for key in outlook.pinned if key not in self.bits)
        room = max(outlook.budget_bytes - outlook.now.working_bytes - others, self._nbytes[needed])
        could = (self._all & ~(present | needed) == 0) & (self._all & needed == needed) & (self._nbytes <= room)
        value = np.where(could, future, np.inf)
        best = int(np.flatnonzero(value == value.min())[-1])
        return {key for key, bit in self.bits.items() if best & bit}

    def _future(self) -> np.ndarray:
        """The least cost of all coming phases, by what is on the device before them."""
        cost = np.zeros(len(self._all))
        for phase in reversed(self._phases):
            needed = self._mask(phase.keys)
            room = max(self._outlook.budget_bytes - phase.working_bytes, self._nbytes[needed])
            after = np.where(self._nbytes <= room, cost, np.inf)[self._all | needed]
            for bit in self.bits.values():  # the least over all that could be left of each set
                pairs = after.reshape(-1, 2, bit)
                np.minimum(pairs[:, 0], pairs[:, 1], out=pairs[:, 1])
            cost = after + self._costs[needed & ~self._all]
        return cost

    def _mask(self, keys: Iterable[Hashable]) -> int:
        return sum({self.bits.get(key, 0) for key in keys})

    def _sums(self, of: Callable[[Item], float]) -> np.ndarray:
        """By set, the sum over its components."""
        sums = np.zeros(1)
        for key in self.bits:
            sums = np.concatenate([sums, sums + of(self._outlook.items[key])])
        return sums

"""Random streams of jobs, what the studio's policy and others move for them, and the least that anyone could move."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from studio.models.eviction import Choose, Coming, Outlook
from studio.models.residency import Residency
from studio.models.simulated import SimulatedDevice, SimulatedWeights

FAMILY = {  # bytes in MB, as the real ones are
    "clip": 1264,
    "vae": 195,
    "svd unet": 3049,
    "svd-xt unet": 3049,
    "sv3d unet": 3058,
    "sdxl unet": 5135,
    "sdxl texts": 1636,
    "rife": 43,
}
JOBS = {  # phases: components, working memory at full size
    "svd": (("clip", "vae"), ("svd unet",), ("vae",)),
    "svd-xt": (("clip", "vae"), ("svd-xt unet",), ("vae",)),
    "sv3d": (("clip", "vae"), ("sv3d unet",), ("vae",)),
    "sdxl": (("sdxl texts",), ("sdxl unet",), ("vae",)),
    "rife": (("rife",),),
}


def quiet(done_bytes: int, total_bytes: int) -> None:
    """A report that nobody hears."""


@dataclass(frozen=True)
class Stream:
    sizes: dict[Hashable, int]
    phases: tuple[Coming, ...]
    budget: int


def job_stream(rng: random.Random) -> Stream:
    """Jobs as they come: variants of the family, at sizes of clip that take more or less working memory."""
    phases = []
    for _ in range(rng.randint(6, 14)):
        for keys in JOBS[rng.choice(list(JOBS))]:
            phases.append(Coming(keys, rng.randint(0, 3500)))
    return _fitting(rng, FAMILY, phases)


def wild_stream(rng: random.Random) -> Stream:
    """Any sizes, any phases of one to three components."""
    sizes = {f"c{i}": rng.choice([rng.randint(1, 100), rng.randint(1, 1000), 500]) for i in range(rng.randint(3, 9))}
    phases = []
    for _ in range(rng.randint(10, 40)):
        keys = rng.sample(list(sizes), min(len(sizes), rng.choice([1, 1, 1, 2, 3])))
        phases.append(Coming(tuple(keys), rng.choice([0, 0, rng.randint(0, 500)])))
    return _fitting(rng, sizes, phases)


def _fitting(rng, sizes, phases):
    least = max(phase.working_bytes + sum(sizes[key] for key in phase.keys) for phase in phases)
    most = max(phase.working_bytes for phase in phases) + sum(sizes.values())
    return Stream(dict(sizes), tuple(phases), rng.randint(least, max(least, (least + most) // 2)))


def moved_by(stream: Stream, choose: Choose, *, lookahead: int | None = None) -> int:
    """Bytes that the residency moves to the device with that rule, with that many phases known ahead (None: all)."""
    device = SimulatedDevice(stream.budget, 10**9)
    residency = Residency(
        device_budget=device.total_bytes, host_budget=lambda: device.host.total, clock=lambda: 0.0, choose=choose
    )
    for i, phase in enumerate(stream.phases):
        known = stream.phases[i + 1 :] if lookahead is None else stream.phases[i + 1 : i + 1 + lookahead]
        residency.expect(known, stream.sizes)
        with residency.reserve(phase.working_bytes, keep=phase.keys):
            holdings = [
                residency.acquire(
                    key,
                    lambda key=key: SimulatedWeights(device, stream.sizes[key], parts=1),
                    component=str(key), variant="v", report=quiet,
                )
                for key in phase.keys
            ]  # fmt: skip
            assert all(holding.thing.usable for holding in holdings)
            assert residency.held_bytes() + phase.working_bytes <= stream.budget
            for holding in holdings:
                residency.release(holding)
    assert device.moved_bytes == residency.moved.host_to_device_bytes
    assert device.copied_back_bytes == 0
    return device.moved_bytes


def least_moved(stream: Stream) -> int:
    """The fewest bytes with which the stream can be served: every set that could lie on the device is followed.

    Only sets that hold more or cost less than all others are kept; that loses nothing, as weights may go for free.
    """
    sets: dict[frozenset[Hashable], int] = {frozenset(): 0}
    for phase in stream.phases:
        needed = frozenset(phase.keys)
        room = stream.budget - phase.working_bytes - sum(stream.sizes[key] for key in needed)
        after: dict[frozenset[Hashable], int] = {}
        for there, cost in sets.items():
            cost += sum(stream.sizes[key] for key in needed - there)
            for kept in _fullest(sorted(there - needed), room, stream.sizes):
                found = needed | kept
                after[found] = min(cost, after.get(found, cost))
        sets = {
            found: cost
            for found, cost in after.items()
            if not any(found < other and dearer <= cost for other, dearer in after.items())
        }
    return min(sets.values())


def _fullest(keys: Sequence[Hashable], room: int, sizes: dict[Hashable, int]) -> list[frozenset[Hashable]]:
    """All subsets that fit and to which none of the rest could be added."""
    if sum(sizes[key] for key in keys) <= room:
        return [frozenset(keys)]
    found = [(frozenset[Hashable](), room)]
    for key in keys:
        found += [(kept | {key}, left - sizes[key]) for kept, left in found if sizes[key] <= left]
    return [kept for kept, left in found if all(key in kept or sizes[key] > left for key in keys)]


def least_recently_used(outlook: Outlook, wanted_bytes: int) -> list[Hashable]:
    """The rule of one who doesn't know the queue; what the phase needs goes last with it too."""
    victims = []
    order = sorted(
        (key for key in outlook.present if key not in outlook.pinned),
        key=lambda key: (key in outlook.now.keys, outlook.items[key].used),
    )
    for key in order:
        if wanted_bytes <= 0:
            break
        victims.append(key)
        wanted_bytes -= outlook.items[key].nbytes
    return victims

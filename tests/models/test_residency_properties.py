"""Random streams of everything that can be asked of a residency, with cancels and failures at every transition."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import ExitStack

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio.errors import Cancelled, DoesNotFit
from studio.models.simulated import SimulatedWeights
from tests.models.world import WAIT_S, World


class Injected(Exception):
    """A failure of the test's making."""


DEEDS = ["acquire"] * 3 + ["release"] * 2 + ["reserve", "unreserve", "prefetch", "expect", "leave", "drop"]
KEYS = [f"{variant} c{i}" for i, variant in enumerate("aabbcd")]

steps = st.lists(
    st.fixed_dictionaries(
        {
            "do": st.sampled_from(DEEDS),
            "key": st.sampled_from(KEYS),
            "others": st.lists(st.sampled_from(KEYS), max_size=6),
            "amount": st.integers(0, 40),
            "stream": st.booleans(),
            "host": st.booleans(),
            "cancel_at": st.none() | st.none() | st.integers(0, 6),
            "fail_at": st.none() | st.none() | st.integers(0, 9),
        }
    ),
    max_size=40,
)  # fmt: skip
worlds = st.fixed_dictionaries(
    {
        "sizes": st.lists(st.integers(1, 30), min_size=len(KEYS), max_size=len(KEYS)),
        "in_units": st.lists(st.lists(st.integers(1, 6), max_size=5), min_size=len(KEYS), max_size=len(KEYS)),
        "total": st.integers(5, 90),
        "host": st.integers(0, 120),
    }
)


def make_world(sizes, in_units, total, host):
    found = {key: size + sum(units) for key, size, units in zip(KEYS, sizes, in_units, strict=True)}
    units = dict(zip(KEYS, map(tuple, in_units), strict=True))
    return World(total, host, sizes=found, units=units, parts=2)


class Player:
    """Does the steps, and knows what must be true before and after each."""

    def __init__(self, world):
        self.world = world
        self.residency = world.residency
        self.pinned = []
        self.reserved = []
        self.expected = []
        self.transitions_left = None
        world.hook = self._transition

    def _transition(self, transition, key):
        if self.transitions_left is not None:
            if self.transitions_left == 0:
                self.transitions_left = None
                raise Injected(transition)
            self.transitions_left -= 1

    def _report(self, cancel_at):
        left = [cancel_at]

        def report(done_bytes, total_bytes):
            assert 0 <= done_bytes <= total_bytes
            if left[0] is not None:
                if left[0] == 0:
                    raise Cancelled
                left[0] -= 1

        return report

    def wanted(self, key, resident):
        """What it takes on the device in that form."""
        weights = SimulatedWeights(self.world.device, self.world.sizes[key], self.world.units[key])
        return weights.device_bytes if resident is None else min(weights.device_bytes, weights.streamed_bytes(resident))

    def step(self, step):
        world, residency = self.world, self.residency
        resident = step["amount"] if step["stream"] else None
        rows = {row["key"]: row for row in residency.rows()}
        there = {key: row["device_bytes"] for key, row in rows.items() if row["device_bytes"]}
        in_use = sum(row["device_bytes"] for row in rows.values() if row["leases"]) + sum(a for a, _ in self.reserved)
        free = world.total - sum(there.values()) - sum(a for a, _ in self.reserved)
        seen = len(world.seen)
        self.transitions_left = step["fail_at"]
        wanted, failed = None, False
        try:
            if step["do"] == "acquire":
                wanted = self.wanted(step["key"], resident)
                self.pinned.append(world.acquire(step["key"], self._report(step["cancel_at"]), resident))
            elif step["do"] == "release" and self.pinned:
                residency.release(self.pinned.pop(step["amount"] % len(self.pinned)))
            elif step["do"] == "reserve":
                wanted, block = step["amount"], ExitStack()
                block.enter_context(residency.reserve(wanted, keep=step["others"]))
                world.device.allocate(wanted)
                block.callback(world.device.free, wanted)
                self.reserved.append((wanted, block))
            elif step["do"] == "unreserve" and self.reserved:
                self.reserved.pop()[1].close()
            elif step["do"] == "prefetch":
                near = world.prefetch(step["key"], self._report(step["cancel_at"]), resident)
                assert not near or step["key"] in {row["key"] for row in residency.rows()}
            elif step["do"] == "expect":
                self.expected = step["others"]
                residency.expect(self.expected, world.sizes)
            elif step["do"] == "leave":
                residency.leave_only(step["others"])
            elif step["do"] == "drop":
                residency.drop_idle(host=step["host"])
        except (Cancelled, Injected):
            failed = True
        except DoesNotFit as error:
            assert wanted is not None
            short_of_host = "host memory" in error.message and wanted < world.sizes[step["key"]]
            assert short_of_host or in_use + wanted > world.total, "it was refused though it fits beside what is in use"
            failed = True
        self.transitions_left = None
        gone = [key for transition, key in world.seen[seen:] if transition == "before displace"]
        others_gone = {key for key in gone if key != step["key"] or step["do"] == "reserve"}
        if wanted is not None and wanted <= free:
            assert not others_gone or self._for_host(seen), "something went though all fits"
        if step["do"] == "prefetch" and others_gone:
            mine = self.expected.index(step["key"])
            assert all(key not in self.expected or self.expected.index(key) > mine for key in others_gone)
        if not failed and step["do"] == "acquire":
            assert self.pinned[-1].key == step["key"]
        self.check()

    def _for_host(self, seen):
        """Whether what was displaced was a stream whose host memory was wanted for another stream."""
        later = [transition for transition, _ in self.world.seen[seen:]]
        return "before forget" in later

    def check(self):
        world, residency = self.world, self.residency
        reserved = sum(amount for amount, _ in self.reserved)
        assert residency.held_bytes() + reserved == world.device.device.used <= world.total
        assert residency.reserved_bytes() == reserved
        assert residency.host_held_bytes() == world.device.host.used <= world.host
        assert all(holding.thing.usable for holding in self.pinned), "something in use was displaced"
        assert world.device.copied_back_bytes == 0
        pins = {row["key"]: row["leases"] for row in residency.rows()}
        assert all(pins.get(key, 0) == sum(h.key == key for h in self.pinned) for key in KEYS)
        assert len(residency.decisions) <= 100

    def end(self):
        for holding in self.pinned:
            self.residency.release(holding)
        for _, block in self.reserved:
            block.close()
        self.residency.drop_idle()
        assert self.world.device.device.used == self.world.device.host.used == 0
        assert self.residency.rows() == []


@settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(worlds, steps)
def test_whatever_is_asked_and_fails_budgets_hold_leases_last_and_nothing_goes_for_what_fits(world, steps):
    player = Player(make_world(**world))
    for step in steps:
        player.step(step)
    player.end()


def test_many_threads_with_cancels_and_failures_come_to_an_end_and_leave_nothing():
    rng = random.Random(4)
    world = make_world([rng.randint(1, 20) for _ in KEYS], [[3, 2, 2]] * len(KEYS), total=70, host=60)
    local = threading.local()
    wrong, ended = [], Counter()

    def hook(transition, key):
        time.sleep(local.rng.choice([0, 0, 1e-4, 1e-3]))
        if local.rng.random() < 0.04:
            raise Injected(transition)

    def report(done_bytes, total_bytes):
        if local.rng.random() < 0.03:
            raise Cancelled

    def work(seed):
        local.rng = rng = random.Random(seed)
        for _ in range(80):
            key, dice = rng.choice(KEYS), rng.random()
            try:
                with ExitStack() as leases:
                    if dice < 0.5:
                        amount = rng.randint(0, 15)
                        leases.enter_context(world.residency.reserve(amount, keep=[key], report=report))
                        world.device.allocate(amount)
                        leases.callback(world.device.free, amount)
                    if dice < 0.8:
                        for wanted in {key, rng.choice(KEYS)}:
                            holding = world.acquire(wanted, report, rng.choice([None, None, 3]))
                            leases.callback(world.residency.release, holding)
                            assert holding.thing.usable
                    elif dice < 0.9:
                        world.prefetch(key, report)
                    elif dice < 0.95:
                        world.residency.drop_idle(host=rng.random() < 0.3)
                    else:
                        world.residency.expect(rng.sample(KEYS, 4), world.sizes)
                ended["well"] += 1
            except (Cancelled, Injected, DoesNotFit) as error:
                ended[type(error)] += 1
            except BaseException as error:
                wrong.append(error)
                raise

    world.hook = hook
    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive(), "it hangs"
    assert wrong == []
    assert len(ended) == 4, "not everything happened"
    world.hook = None
    world.residency.drop_idle()
    assert world.device.device.used == world.device.host.used == 0
    assert world.device.device.peak <= world.total
    assert world.device.host.peak <= world.host
    assert world.device.copied_back_bytes == 0
    assert world.residency.rows() == []

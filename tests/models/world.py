"""A residency on a simulated device, for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from studio.errors import Cancelled
from studio.models.residency import Residency
from studio.models.simulated import SimulatedDevice, SimulatedWeights
from tests.models.job_streams import quiet

SIZES = {"svd unet": 30, "svd-xt unet": 32, "sdxl unet": 50, "vae": 2, "clip": 12}
WAIT_S = 20


@dataclass
class World:
    """A residency on a simulated device; what happened to the weights, in order.

    Args:
        units: of what can be streamed.
        hook: hears (transition, key) before and after each; what it raises is the transition's failure.
        parts: how many times a move reports.
    """

    total: int
    host: int | None = 1000
    sizes: dict[str, int] = field(default_factory=lambda: dict(SIZES))
    units: dict[str, tuple[int, ...]] = field(default_factory=dict)
    hook: Callable[[str, str], None] | None = None
    parts: int = 3

    def __post_init__(self):
        self.device = SimulatedDevice(self.total, self.host)
        self.taken_by_others = 0
        self.seen = []
        self.opened = []
        self.residency = Residency(
            device_budget=lambda: self.total - self.taken_by_others,
            host_budget=lambda: self.host,
            empty_cache=self.device.empty_cache,
            clock=lambda: self.device.now_s,
        )

    def open(self, key):
        def heard(transition):
            self.seen.append((transition, key))
            if self.hook is not None:
                self.hook(transition, key)

        self.opened.append(key)
        return SimulatedWeights(self.device, self.sizes[key], self.units.get(key, ()), hook=heard, parts=self.parts)

    def wants(self, key, report):
        return {
            "open": lambda: self.open(key),
            "component": key.split()[-1],
            "variant": key.split()[0],
            "report": report,
        }

    def acquire(self, key, report=quiet, resident=None):
        return self.residency.acquire(key, **self.wants(key, report), resident_bytes=resident)

    def use(self, *keys, resident=None):
        for key in keys:
            holding = self.acquire(key, resident=resident)
            assert holding.thing.usable
            self.residency.release(holding)

    def prefetch(self, key, report=quiet, resident=None):
        return self.residency.prefetch(key, **self.wants(key, report), resident_bytes=resident)

    def tiers(self):
        return {row["key"]: row["tier"] for row in self.residency.rows()}

    def why(self, what):
        return [decision.why for decision in self.residency.decisions if decision.what == what]


def cancel(done_bytes, total_bytes):
    raise Cancelled


def cancel_midway(done_bytes, total_bytes):
    if done_bytes:
        raise Cancelled


class Gate:
    """Holds a transition of a component back until it is opened; `reached` when it is there."""

    def __init__(self, transition, key):
        self._at = (transition, key)
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, transition, key):
        if (transition, key) == self._at and not self.opened.is_set():
            self.reached.set()
            assert self.opened.wait(WAIT_S)


def start(function, *args):
    """Runs it in a thread; the function that is returned waits for its result, or raises what it raised."""
    found = {}

    def run():
        try:
            found["value"] = function(*args)
        except BaseException as error:
            found["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result():
        thread.join(WAIT_S)
        assert not thread.is_alive(), "it hangs"
        if "error" in found:
            raise found["error"]
        return found["value"]

    return result

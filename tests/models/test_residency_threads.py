import threading

import pytest

from studio.errors import Cancelled, DoesNotFit
from tests.models.world import WAIT_S, Gate, World, cancel, cancel_midway, start


def test_two_that_want_the_same_load_it_once_and_the_second_is_asked_while_it_waits():
    world = World(60)
    world.hook = gate = Gate("before place", "svd unet")
    first = start(world.acquire, "svd unet")
    assert gate.reached.wait(WAIT_S)
    asked = threading.Event()
    second = start(world.acquire, "svd unet", lambda done, total: asked.set())
    assert asked.wait(WAIT_S)
    gate.opened.set()
    assert first() is second()
    assert first().pins == 2
    assert world.opened == ["svd unet"]


def test_one_who_waits_can_be_cancelled_without_disturbing_the_one_who_loads():
    world = World(60)
    world.hook = gate = Gate("before place", "svd unet")
    first = start(world.acquire, "svd unet")
    assert gate.reached.wait(WAIT_S)
    with pytest.raises(Cancelled):
        world.acquire("svd unet", cancel)
    gate.opened.set()
    assert first().pins == 1


def test_one_who_waits_takes_over_from_one_who_is_cancelled():
    world = World(60)
    world.hook = gate = Gate("before place", "svd unet")
    first = start(world.acquire, "svd unet", lambda done, total: cancel(0, 0) if gate.opened.is_set() else None)
    assert gate.reached.wait(WAIT_S)
    asked = threading.Event()
    second = start(world.acquire, "svd unet", lambda done, total: asked.set())
    assert asked.wait(WAIT_S)
    gate.opened.set()
    with pytest.raises(Cancelled):
        first()
    assert second().pins == 1
    assert second().thing.usable


def test_the_room_of_a_load_under_way_is_taken():
    world = World(60)
    world.hook = gate = Gate("before place", "svd unet")
    first = start(world.acquire, "svd unet")
    assert gate.reached.wait(WAIT_S)
    assert world.residency.held_bytes() == 30
    with pytest.raises(DoesNotFit):
        world.acquire("svd-xt unet")
    gate.opened.set()
    first()


# Prefetch


def test_a_prefetch_goes_to_the_device_where_there_is_room_and_is_then_there_at_once():
    world = World(100)
    held = world.acquire("svd unet")
    assert world.prefetch("svd-xt unet")
    assert world.tiers() == {"svd unet": "device", "svd-xt unet": "device"}
    moved = world.device.moved_bytes
    world.use("svd-xt unet")
    assert world.device.moved_bytes == moved
    assert world.prefetch("svd-xt unet")
    assert world.device.moved_bytes == moved
    world.residency.release(held)


def test_a_prefetch_displaces_only_what_is_used_later():
    world = World(70)
    world.use("svd unet")
    world.residency.expect(["svd unet", "sdxl unet"])
    assert world.prefetch("sdxl unet")
    assert world.tiers() == {"svd unet": "device", "sdxl unet": "host"}
    world.residency.expect(["sdxl unet", "svd unet"])
    assert world.prefetch("sdxl unet")
    assert world.tiers() == {"svd unet": "host", "sdxl unet": "device"}
    assert world.why("displaced unet of svd") == [
        "next used in 2 phases; makes room for unet of sdxl, which comes before"
    ]


def test_a_prefetch_leaves_reserved_memory_and_what_the_phase_still_needs_alone():
    world = World(70)
    world.use("vae")
    world.residency.expect(["sdxl unet"])
    with world.residency.reserve(19, keep=["vae"]):
        assert world.prefetch("sdxl unet")
        assert world.tiers() == {"vae": "device", "sdxl unet": "host"}
    assert world.prefetch("sdxl unet")
    assert world.tiers()["sdxl unet"] == "device"


def test_a_prefetch_for_which_there_is_room_nowhere_says_so_and_leaves_nothing():
    world = World(40, host=35)
    world.use("svd unet")
    world.residency.expect(["svd unet", "sdxl unet"])
    assert not world.prefetch("sdxl unet")
    assert world.tiers() == {"svd unet": "device"}


def test_a_prefetch_gives_way_to_what_is_wanted_now():
    world = World(60)
    world.residency.expect(["svd-xt unet"])
    world.hook = gate = Gate("before place", "svd-xt unet")
    early = start(world.prefetch, "svd-xt unet")
    assert gate.reached.wait(WAIT_S)
    now = start(world.acquire, "svd unet", lambda done, total: gate.opened.set())
    assert now().thing.usable
    assert early() is False
    assert world.tiers() == {"svd unet": "device", "svd-xt unet": "host"}
    assert world.why("stopped the prefetch of unet of svd-xt") == ["unet of svd is wanted now"]


def test_working_memory_makes_a_prefetch_give_way_too():
    world = World(60)
    world.hook = gate = Gate("before place", "svd-xt unet")
    early = start(world.prefetch, "svd-xt unet")
    assert gate.reached.wait(WAIT_S)
    with world.residency.reserve(50, report=lambda done, total: gate.opened.set()):
        assert early() is False
        assert world.device.device.used == 0


def test_one_who_wants_what_is_being_prefetched_waits_for_it():
    world = World(60)
    world.hook = gate = Gate("before place", "svd unet")
    early = start(world.prefetch, "svd unet")
    assert gate.reached.wait(WAIT_S)
    now = start(world.acquire, "svd unet", lambda done, total: gate.opened.set())
    assert now().pins == 1
    assert early() is True
    assert world.opened == ["svd unet"]
    assert world.device.moved_bytes == 30


def test_a_prefetch_that_is_cancelled_leaves_nothing():
    world = World(60)
    with pytest.raises(Cancelled):
        world.prefetch("svd unet", cancel_midway)
    assert world.device.device.used == world.device.host.used == 0
    assert world.residency.rows() == []

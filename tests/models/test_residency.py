import threading

import pytest

from studio.errors import Cancelled, DoesNotFit
from studio.models.eviction import Coming
from studio.models.residency import Residency
from studio.models.simulated import OutOfMemoryError, SimulatedDevice, SimulatedWeights
from tests.models.job_streams import quiet
from tests.models.world import SIZES, World, cancel, cancel_midway

# Sharing and swapping


def test_a_component_is_loaded_once_for_all_that_use_it_and_stays_when_they_are_done():
    world = World(100)
    first, second = world.acquire("vae"), world.acquire("vae")
    assert first is second
    assert first.pins == 2
    world.residency.release(first)
    world.residency.release(second)
    world.use("vae")
    assert world.opened == ["vae"]
    assert world.device.moved_bytes == SIZES["vae"]


def test_a_swap_of_variants_moves_only_what_differs_and_copies_nothing_back():
    world = World(60)
    world.use("clip", "vae", "svd unet", "vae")
    before = world.device.moved_bytes
    world.use("clip", "vae", "svd-xt unet", "vae")
    assert world.device.moved_bytes - before == SIZES["svd-xt unet"]
    before, read = world.device.moved_bytes, world.device.read_bytes
    world.use("clip", "vae", "svd unet", "vae")
    assert world.device.moved_bytes - before == SIZES["svd unet"]
    assert world.device.read_bytes == read, "it comes from host memory"
    assert world.device.copied_back_bytes == world.residency.moved.device_to_host_bytes == 0
    assert world.residency.moved.host_to_device_bytes == world.device.moved_bytes
    assert world.residency.moved.read_bytes == world.device.read_bytes


def test_what_others_decided_stands_among_the_decisions():
    world = World(60)
    world.residency.note("planned svd", "it fits")
    world.use("vae")
    assert [d.what for d in world.residency.decisions][:2] == ["planned svd", "read vae of vae into host memory"]


def test_every_move_is_written_down_with_its_reason():
    world = World(60)
    world.use("svd unet")
    world.residency.expect([Coming(("vae",)), Coming(("svd unet",))])
    world.use("svd-xt unet")
    assert world.why("displaced unet of svd") == ["next used in 2 phases; makes room for unet of svd-xt"]
    assert world.device.times_cache_emptied == 1
    assert world.why("placed unet of svd-xt") == ["from host memory"]
    assert world.why("read unet of svd into host memory") == ["the next swap is one copy from there"]


def test_the_rows_say_what_lies_where_for_whom_and_until_when():
    world = World(60)
    world.use("svd unet", "svd-xt unet")
    holding = world.acquire("vae")
    world.residency.expect([Coming(("svd-xt unet", "vae"))])
    rows = {row.pop("key"): row for row in world.residency.rows()}
    assert rows["svd unet"]["tier"] == "host"
    assert rows["svd unet"]["device_bytes"] == 0
    assert rows["svd unet"]["next_use"] is None
    assert rows["svd-xt unet"]["next_use"] == 0
    assert rows["vae"] == {
        "component": "vae", "variants": ["vae"], "device_bytes": 2, "host_bytes": 2, "tier": "device", "leases": 1,
        "next_use": 0,
    }  # fmt: skip
    world.residency.release(holding)


def test_five_hundred_swaps_leave_no_growth():
    world = World(60, host=100)
    for i in range(500):
        world.use("clip", "vae", ("svd unet", "svd-xt unet", "sdxl unet")[i % 3], "vae")
        if i == 20:
            rows, threads = len(world.residency.rows()), threading.active_count()
    assert len(world.residency.rows()) == rows <= len(SIZES)
    assert len(world.residency.decisions) == 100
    assert threading.active_count() == threads
    assert world.device.device.peak <= 60
    assert world.device.host.peak <= 100
    world.residency.drop_idle()
    assert world.device.device.used == world.device.host.used == 0
    assert world.residency.rows() == []


def test_weights_that_lie_nowhere_are_let_go_after_a_while():
    world = World(1, host=0, sizes={"many": 1})
    for i in range(50):
        holding = world.residency.acquire((i,), **world.wants("many", quiet))
        world.residency.release(holding)
    assert len(world.residency._room.holdings) <= 17


# Budgets


def test_nothing_goes_when_what_is_wanted_fits():
    world = World(sum(SIZES.values()) + 5)
    world.use(*SIZES)
    with world.residency.reserve(5):
        world.use(*SIZES)
    assert not [transition for transition, _ in world.seen if transition == "before displace"]
    assert world.device.times_cache_emptied == 0


def test_working_memory_makes_what_is_idle_go_and_the_phases_own_components_last():
    world = World(62)
    world.use("svd unet", "svd-xt unet")
    with world.residency.reserve(30, keep=["svd unet"]):
        assert world.tiers() == {"svd unet": "device", "svd-xt unet": "host"}
        with world.residency.reserve(2):
            assert world.residency.reserved_bytes() == 32
    assert world.residency.reserved_bytes() == 0
    with world.residency.reserve(40, keep=["svd unet"]):
        assert world.tiers()["svd unet"] == "host"


def test_what_is_in_use_is_never_displaced_and_what_does_not_fit_beside_it_is_refused():
    world = World(60)
    held = world.acquire("svd unet")
    with pytest.raises(DoesNotFit, match=r"unet of svd-xt needs .* are left beside"):
        world.acquire("svd-xt unet")
    with pytest.raises(DoesNotFit, match="working memory"), world.residency.reserve(31):
        pass
    assert held.thing.usable
    assert world.tiers() == {"svd unet": "device"}
    world.residency.release(held)
    world.use("svd-xt unet")


def test_what_can_not_fit_is_refused_before_anything_is_read_or_displaced():
    world = World(45)
    world.use("svd unet")
    seen = len(world.seen)
    with pytest.raises(DoesNotFit):
        world.acquire("sdxl unet")
    assert world.seen[seen:] == []
    assert world.tiers() == {"svd unet": "device"}


def test_what_idles_in_no_known_future_goes_before_what_is_used_again():
    world = World(46)
    world.use("svd unet", "clip", "vae")
    world.residency.expect(["svd unet"])
    with world.residency.reserve(10):
        assert world.tiers() == {"svd unet": "device", "clip": "host", "vae": "device"}


def test_the_choice_reckons_with_the_size_of_what_is_loaded_for_the_first_time():
    world = World(10, sizes={"small": 2, "large": 8, "new": 2})
    world.use("small", "large")
    world.residency.expect(["small", "large"])
    world.use("new")
    assert world.tiers()["large"] == "device", "it is used after the small one, but four times dearer to bring back"


def test_a_budget_that_shrank_makes_others_go_before_what_is_wanted_is_used():
    world = World(60)
    world.use("clip", "svd unet")
    world.taken_by_others = 25
    world.use("svd unet")
    assert world.tiers() == {"clip": "host", "svd unet": "device"}
    world.taken_by_others = 40
    with pytest.raises(DoesNotFit):
        world.acquire("svd unet")


def test_without_a_known_limit_nothing_goes_by_itself():
    device = SimulatedDevice(10**6, 10**6)
    residency = Residency(device_budget=lambda: None, host_budget=lambda: 10**6)
    for key, size in SIZES.items():
        holding = residency.acquire(
            key, lambda size=size: SimulatedWeights(device, size), component=key, variant="v", report=quiet
        )
        residency.release(holding)
    with residency.reserve(10**5):
        assert residency.held_bytes() == sum(SIZES.values())


def test_leave_only_makes_room_though_none_is_wanted_but_not_of_what_is_in_use():
    world = World(200)
    world.use("clip", "svd unet")
    held = world.acquire("vae")
    assert world.residency.leave_only(["clip"]) == SIZES["svd unet"]
    assert world.tiers() == {"clip": "device", "svd unet": "host", "vae": "device"}
    world.residency.release(held)


def test_dropping_what_is_idle_says_what_was_freed_and_can_keep_the_host():
    world = World(200)
    world.use("clip")
    held = world.acquire("vae")
    assert world.residency.drop_idle(host=False) == 12
    assert world.tiers() == {"clip": "host", "vae": "device"}
    assert world.residency.drop_idle() == 12
    assert world.tiers() == {"vae": "device"}
    world.residency.release(held)


# Host memory


def test_where_host_memory_has_no_room_the_file_is_read_straight_to_the_device():
    world = World(60, host=10)
    world.use("svd unet", "svd-xt unet", "svd unet")
    assert ("before read", "svd unet") not in world.seen
    assert world.device.read_bytes == world.device.moved_bytes == 30 + 32 + 30
    assert world.residency.moved.read_bytes == world.device.read_bytes
    assert world.why("placed unet of svd-xt") == ["from its file"]


def test_host_memory_goes_to_what_is_used_sooner():
    world = World(60, host=40)
    world.residency.expect(["svd unet", "svd-xt unet"])
    world.use("svd unet")
    world.use("svd-xt unet")
    assert world.residency._room.holdings["svd unet"].host_bytes
    assert not world.residency._room.holdings["svd-xt unet"].host_bytes, "it is used again after the other"
    world.residency.expect(["svd-xt unet", "svd unet"])
    world.residency.drop_idle(host=False)
    world.use("svd-xt unet")
    assert world.residency._room.holdings["svd-xt unet"].host_bytes
    assert world.why("dropped unet of svd from host memory")
    assert world.device.host.peak <= 40


def test_host_memory_is_taken_from_what_is_used_last_of_all():
    world = World(50, host=65)
    world.use("svd unet", "svd-xt unet")
    world.residency.expect(["clip", "svd unet", "svd-xt unet"])
    world.use("clip")
    assert world.residency._room.holdings["svd unet"].host_bytes
    assert world.why("dropped unet of svd-xt from host memory") == [
        "next used in 3 phases; makes room for clip of clip"
    ]


def test_what_can_come_back_from_host_memory_goes_before_what_would_have_to_be_read():
    world = World(20, host=5, sizes={"read": 10, "waiting": 5, "other": 5, "new": 3})
    world.use("read", "other", "waiting")
    world.residency.expect(["waiting", "read", "other"])
    world.use("new")
    assert world.residency._room.holdings["waiting"].host_bytes
    assert world.tiers() == {"read": "device", "waiting": "host", "other": "device", "new": "device"}


# Streams


def test_a_stream_takes_what_stays_and_two_buffers_and_a_whole_one_serves_it_too():
    world = World(25, units={"svd unet": (5, 4, 5, 4, 5), "vae": (1,)})
    holding = world.acquire("svd unet", resident=6)
    assert holding.thing.resident_bytes == 6
    assert world.residency.held_bytes() == 7 + 5 + 2 * 5
    assert world.tiers() == {"svd unet": "stream"}
    world.residency.release(holding)
    world.use("vae", resident=0)
    assert world.tiers()["vae"] == "device", "two buffers of its one unit would be more than the whole"
    world.use("vae", resident=0)
    assert world.opened == ["svd unet", "vae"]


def test_a_stream_that_is_idle_is_placed_anew_where_more_is_wanted_and_serves_where_less_is():
    world = World(60, units={"sdxl unet": (10, 10, 10, 10)})
    first = world.acquire("sdxl unet", resident=10)
    assert world.acquire("sdxl unet", resident=0) is first
    assert world.acquire("sdxl unet").thing.resident_bytes == 10, "what is in use serves as it is"
    for _ in range(3):
        world.residency.release(first)
    world.use("sdxl unet", resident=0)
    assert first.thing.resident_bytes == 10, "it serves though fewer bytes would have to stay"
    world.use("sdxl unet", resident=15)
    assert first.thing.resident_bytes == 15
    assert world.acquire("sdxl unet").thing.resident_bytes is None
    assert world.why("displaced unet of sdxl") == ["it is wanted in another form"] * 2
    assert world.acquire("sdxl unet", resident=0).thing.resident_bytes is None


def test_a_stream_that_is_wanted_whole_stays_where_the_whole_does_not_fit():
    world = World(45, units={"sdxl unet": (10, 10, 10, 10)})
    world.use("sdxl unet", resident=10)
    with pytest.raises(DoesNotFit):
        world.acquire("sdxl unet")
    assert world.tiers() == {"sdxl unet": "stream"}


def test_a_stream_has_its_host_memory_or_is_refused():
    world = World(60, host=55, units={"sdxl unet": (10,) * 5, "svd unet": (10,) * 3})
    streamed = world.acquire("sdxl unet", resident=0)
    with pytest.raises(DoesNotFit, match="host memory"):
        world.acquire("svd unet", resident=0)
    assert streamed.thing.usable
    world.residency.release(streamed)
    world.use("svd unet", resident=0)
    assert world.tiers() == {"svd unet": "stream"}
    assert world.why("displaced unet of sdxl") == ["it was streamed; its host memory makes room for unet of svd"]


def test_the_host_memory_of_a_stream_goes_for_no_other_component_that_can_do_without():
    world = World(60, host=60, units={"sdxl unet": (10,) * 5})
    streamed = world.acquire("sdxl unet", resident=0)
    world.residency.expect(["clip"])
    world.use("clip")
    assert streamed.thing.usable
    assert world.why("placed clip of clip") == ["from its file"]
    world.residency.release(streamed)
    world.residency.drop_idle(host=False)
    world.use("clip")
    assert world.why("dropped unet of sdxl from host memory")


def test_where_the_device_is_the_host_nothing_waits_beside_it_and_a_stream_comes_from_the_file():
    world = World(40, host=None, units={"sdxl unet": (10,) * 5})
    world.use("clip", "sdxl unet", resident=0)
    assert world.residency.host_held_bytes() == 0
    assert ("before read", "clip") not in world.seen
    assert world.tiers() == {"clip": "device", "sdxl unet": "stream"}
    world.residency.drop_idle()
    assert world.prefetch("sdxl unet", resident=0)
    assert world.tiers() == {"sdxl unet": "stream"}
    assert not world.prefetch("svd unet")


# What goes wrong


@pytest.mark.parametrize("tier", ["file", "host"])
@pytest.mark.parametrize("report", [cancel, cancel_midway])
def test_a_load_that_is_cancelled_leaves_nothing_of_its_own(tier, report):
    world = World(60)
    if tier == "host":
        world.use("svd unet")
        world.residency.drop_idle(host=False)
    with pytest.raises(Cancelled):
        world.acquire("svd unet", report)
    assert world.device.device.used == 0
    assert world.device.host.used == (30 if tier == "host" else 0)
    world.use("svd unet")
    assert world.residency.moved.host_to_device_bytes == world.device.moved_bytes
    assert world.residency.moved.read_bytes == world.device.read_bytes


@pytest.mark.parametrize("move", ["read", "place", "stream"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_load_that_fails_leaves_nothing_on_the_device_and_can_be_tried_again(move, when):
    world = World(60, units={"svd unet": (5,) * 5})
    failing = [f"{when} {move}"]

    def fail(transition, key):
        if transition in failing:
            failing.clear()
            raise OutOfMemoryError(transition)

    world.hook = fail
    resident = 5 if move == "stream" else None
    with pytest.raises(OutOfMemoryError):
        world.acquire("svd unet", resident=resident)
    assert world.device.device.used == 0
    assert world.device.host.used == world.residency.host_held_bytes() == (0 if move == "read" else 30)
    world.use("svd unet", resident=resident)


def test_weights_that_can_not_be_opened_are_nowhere():
    world = World(60)
    with pytest.raises(OSError, match="gone"):
        world.residency.acquire(
            "x", lambda: (_ for _ in ()).throw(OSError("gone")), component="x", variant="v", report=quiet
        )
    assert world.residency.rows() == []
    assert world.residency._room.holdings == {}


def test_what_could_not_be_displaced_still_counts_and_is_placed_anew_before_it_is_used():
    world = World(60)
    world.use("svd unet")
    failing = ["before displace"]

    def fail(transition, key):
        if transition in failing:
            failing.clear()
            raise RuntimeError(transition)

    world.hook = fail
    with pytest.raises(RuntimeError, match="displace"):
        world.acquire("svd-xt unet")
    assert world.residency.held_bytes() == world.device.device.used == 30
    world.use("svd unet")
    world.use("svd-xt unet")

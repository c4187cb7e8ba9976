from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.errors import DoesNotFit
from studio.models.advice import instead
from studio.models.catalog import Catalog
from studio.models.learned import Learned, default_facts
from studio.models.limits import Limits
from studio.models.placement import MARGIN
from studio.models.plan import leaner, make_plans
from studio.settings import shipped

CATALOG = Catalog(shipped("configs") / "models")
XT = CATALOG.get("svd-xt")
NEEDED = {c: b for c, b in XT.component_bytes.items() if c not in XT.extras}
GB, GIB = 10**9, 2**30


def facts(room=80 * GB, name="cuda:0", title="NVIDIA GeForce RTX 4090", dtype="fp16", host=64 * GB):
    return default_facts(name, title, dtype, total_bytes=room, room_bytes=room, host_bytes=host)


def wish(**changed):
    given = {"frames": 25, "width": 1024, "height": 576, "steps": 30, "sampler": "euler", "guidance_max": 3.0}
    return SimpleNamespace(**{**given, "decode": "auto", "decode_chunk": 14, **changed})


def plans(vram="auto", budget=None, *, spec=XT, learned=None, held=(), on=None, ram=None, **changed):
    return make_plans(
        spec,
        wish(**changed),
        facts=on or facts(),
        limits=Limits(vram, budget, ram),
        learned=learned or Learned(None),
        component_bytes=spec.component_bytes,
        held=held,
    )


def ways(plan):
    return {p.phase: p.way.name for p in plan.phases}


def test_with_plenty_of_memory_everything_stays_and_the_quickest_ways_are_taken():
    chosen = plans().chosen
    assert chosen.residency == "resident"
    assert ways(chosen) == {"encode": "whole", "sample": "both branches", "decode": "whole"}
    assert all(p.weights_bytes == sum(NEEDED.values()) for p in chosen.phases)
    assert all(p.moved_bytes == 0 for p in chosen.phases)


def test_the_peak_is_that_of_the_hungriest_phase_with_its_margin():
    chosen = plans().chosen
    assert chosen.peak_bytes == max(p.weights_bytes + p.working_bytes for p in chosen.phases)
    for p in chosen.phases:
        assert p.working_bytes == int(p.way.working_bytes * MARGIN)


@pytest.mark.parametrize(("policy", "most_gib"), [("none", 4), ("low", 6), ("normal", 9)])
def test_each_policy_keeps_a_full_clip_within_its_bound(policy, most_gib):
    chosen = plans(policy).chosen
    assert chosen.peak_bytes <= most_gib * GIB
    assert chosen.exact


def test_the_policies_mean_what_they_say():
    assert plans("high").chosen.residency == "resident"
    normal = plans("normal").chosen
    assert normal.residency == "swap"
    assert normal.phase("sample").weights_bytes == XT.component_bytes["unet"]
    low = plans("low").chosen
    assert low.residency == "stream"
    assert low.phase("sample").resident["unet"] <= XT.component_bytes["unet"] / 2
    none = plans("none").chosen
    assert none.phase("sample").resident == {"unet": 0}
    assert ways(none) == {
        "encode": "whole",
        "sample": "one branch at a time, feed-forwards in slices",
        "decode": "whole, kept on the host, in small slices",
    }
    peaks = [plans(policy).chosen.peak_bytes for policy in ("high", "normal", "low", "none")]
    assert peaks == sorted(peaks, reverse=True)


@pytest.mark.parametrize("budget", [4 * GB, 5 * GB, 6 * GB, 8 * GB, 10 * GB, 12 * GB, 16 * GB, 24 * GB])
def test_a_budget_is_kept_and_a_larger_one_is_never_slower(budget):
    chosen = plans(budget=budget).chosen
    assert chosen.peak_bytes <= budget
    assert chosen.exact
    assert chosen.budget_bytes == budget
    larger = plans(budget=budget + 2 * GB).chosen
    assert larger.seconds <= 1.03 * chosen.seconds


def test_what_is_free_bounds_a_plan_as_a_budget_does():
    assert plans(on=facts(room=6 * GB)).chosen.peak_bytes <= 6 * GB
    assert plans(budget=8 * GB, on=facts(room=6 * GB)).chosen.budget_bytes == 6 * GB
    assert plans(budget=5 * GB, on=facts(room=6 * GB)).chosen.budget_bytes == 5 * GB


def test_no_bound_is_known_and_none_is_made_up():
    chosen = plans(on=facts(room=None)).chosen
    assert chosen.budget_bytes is None
    assert ways(chosen)["decode"] == "whole"
    assert chosen.says == "needs 14.1 GB"


def test_swapping_is_taken_before_streaming_where_both_are_as_quick():
    assert plans(budget=6 * GB).chosen.residency == "swap"
    assert plans(budget=4 * GB).chosen.residency == "stream"


def test_an_approximate_way_is_taken_only_where_no_exact_one_fits_and_says_so():
    exact = plans(budget=4 * GB)
    assert exact.chosen.notices == ()
    # A host that can't hold the clip's tensors leaves only chunks.
    small_host = plans(budget=5 * GB, on=facts(host=11 * GB))
    assert small_host.chosen.exact is False
    assert "can flicker" in small_host.chosen.notices[0]
    assert small_host.dearer.exact
    assert "decode whole" in instead(small_host.dearer, small_host.chosen)


def test_streaming_needs_room_on_the_host_and_is_left_where_there_is_none():
    assert plans("low", ram=4 * GB).chosen.residency == "stream"
    assert plans("low", ram=1 * GB).chosen.residency == "swap"
    with pytest.raises(DoesNotFit):
        plans("low", 4 * GB, ram=1 * GB).chosen_or_raise()


def test_a_stream_holds_what_stays_and_two_buffers():
    unet = XT.component_bytes["unet"]
    sample = plans("none").chosen.phase("sample")
    largest = 0.065812 * unet
    assert sample.weights_bytes == pytest.approx(0.0031 * unet + 2 * largest, rel=0.02)
    assert sample.moved_bytes == pytest.approx(60 * unet, rel=0.01)  # 30 steps of two branches, one at a time
    half = plans("low").chosen.phase("sample")
    assert half.weights_bytes <= half.resident["unet"] + 0.004 * unet + 2 * largest
    assert half.moved_bytes < sample.moved_bytes


def test_a_copy_that_hides_behind_the_arithmetic_costs_no_time_and_one_that_does_not_does():
    fast, slow = facts(), facts(title="NVIDIA H100 PCIe")
    hidden = (
        plans("none", on=fast).chosen.phase("sample").seconds / plans("high", on=fast).chosen.phase("sample").seconds
    )
    exposed = (
        plans("none", on=slow, frames=2, width=256, height=256).chosen.phase("sample").seconds
        / plans("high", on=slow, frames=2, width=256, height=256).chosen.phase("sample").seconds
    )
    assert hidden < 1.1
    assert exposed > 3


def test_what_is_held_already_is_not_read_again():
    cold, warm = plans().chosen, plans(held=XT.component_bytes).chosen
    assert warm.load_seconds == 0
    assert cold.seconds - warm.seconds == pytest.approx(sum(NEEDED.values()) / facts().read_bytes_per_s)


def test_measured_peaks_and_paces_change_the_plan():
    learned = Learned(None)
    before = plans(budget=16 * GB).chosen
    way = before.phase("decode").way
    learned.hear(
        "svd", "decode", way.name, working_bytes=way.working_bytes, peak_bytes=2 * way.working_bytes, flop=0, seconds=0
    )
    after = plans(budget=16 * GB, learned=learned).chosen
    assert ways(after)["decode"] == "whole, some layers twice"
    assert after.peak_bytes <= 16 * GB
    sample = before.phase("sample").way
    learned.hear(
        "svd", "sample", sample.name, working_bytes=1, peak_bytes=None, flop=sample.flop, seconds=10 * before.seconds
    )
    slower = plans(budget=16 * GB, learned=learned)
    assert slower.chosen.phase("sample").seconds > 5 * before.phase("sample").seconds
    # One way that was measured tells of the others too.
    assert all(p.seconds > 5 * before.phase("sample").seconds for p in slower.options["sample"])


def test_the_neighbours_need_less_or_are_quicker():
    found = plans(budget=8 * GB)
    chosen, cheaper, dearer = found.chosen, found.cheaper, found.dearer
    assert cheaper.peak_bytes < chosen.peak_bytes
    assert dearer.peak_bytes > chosen.peak_bytes
    assert dearer.seconds < chosen.seconds
    reason = instead(dearer, chosen)
    assert reason.startswith(f"{dearer.peak_bytes / 1e9:.1f} GB instead of {chosen.peak_bytes / 1e9:.1f} GB, about ")
    assert reason.endswith("decode whole, some layers twice.")
    assert plans().dearer is None
    assert plans("none").cheaper is None


@pytest.mark.parametrize(
    ("budget", "given", "helps"),
    [
        (3 * GB, {}, ["width and height to 896x512", "allow 3.4 GB"]),
        (4 * GB, {"width": 1024, "height": 1024}, ["width and height to 896x896"]),
        (4 * GB, {"decode": "whole", "width": 576, "height": 320}, []),
    ],
    ids=str,
)
def test_where_nothing_fits_the_remedy_would_help(budget, given, helps):
    found = plans(budget=budget, **given)
    if not helps:
        assert found.chosen is not None
        return
    with pytest.raises(DoesNotFit) as caught:
        found.chosen_or_raise()
    assert f"{found.least_bytes / 1e9:.1f}"[0] in caught.value.message
    for words in helps:
        assert words in caught.value.remedy
    words = caught.value.remedy.split(" to ")[1]
    width, height = (int(n) for n in words.split(",")[0].rstrip(".").split("x"))
    assert plans(budget=budget, **{**given, "width": width, "height": height}).chosen is not None
    enough = float(caught.value.remedy.split("llow ")[1].split()[0])
    assert plans(budget=int(enough * GB), **given).chosen is not None


def test_fewer_frames_are_named_where_they_would_help():
    found = plans(budget=int(4.5 * GB), decode="whole", width=1024, height=768, on=facts(host=10 * GB))
    with pytest.raises(DoesNotFit, match=r"of memory at least; 4\.5 GB may be taken") as caught:
        found.chosen_or_raise()
    frames = int(caught.value.remedy.split("lower frames to ")[1].split(",")[0])
    fewer = {"decode": "whole", "width": 1024, "height": 768, "on": facts(host=10 * GB)}
    assert plans(budget=int(4.5 * GB), frames=frames, **fewer).chosen is not None
    assert plans(budget=int(4.5 * GB), frames=frames + 1, **fewer).chosen is None


def test_a_policy_that_does_not_fit_is_said_to_be_the_matter():
    with pytest.raises(DoesNotFit, match="--vram high within 5 GB") as caught:
        plans("high", 5 * GB).chosen_or_raise()
    assert "--vram auto" in caught.value.remedy
    assert plans("auto", 5 * GB).chosen is not None


def test_on_the_cpu_host_memory_is_counted_as_the_devices():
    on = facts(name="cpu", title="CPU", dtype="fp32", room=64 * GB)
    for found in plans(on=on).options["decode"]:
        assert found.working_bytes >= found.way.host_bytes


def test_a_variant_without_phases_needs_its_weights_and_no_plan():
    spec = CATALOG.get("parallax")
    found = plans(spec=spec)
    assert found.chosen.phases == ()
    assert (found.chosen.peak_bytes, found.cheaper, found.dearer) == (0, None, None)


def test_a_spec_that_names_no_bytes_is_planned_by_its_working_memory():
    bare = XT.model_copy(update={"component_bytes": {}})
    for policy in ("auto", "low", "none"):
        chosen = plans(policy, spec=bare).chosen
        assert all(p.weights_bytes == 0 and p.working_bytes > 0 for p in chosen.phases)


# --- the ladder -----------------------------------------------------------------------------------------------


def rungs(found, phase):
    plan = found.chosen
    while plan is not None:
        yield plan
        plan = leaner(plan, phase, found)


def test_each_rung_needs_less_and_what_leaves_the_numbers_as_they_are_comes_first():
    found = plans()
    steps = [plan.phase("sample") for plan in rungs(found, "sample")]
    peaks = [step.peak_bytes for step in steps]
    assert peaks == sorted(set(peaks), reverse=True)
    assert [step.way.name for step in steps[:3]] == ["both branches"] * 3
    assert [step.resident.get("unet") for step in steps[:3]] == [None, XT.component_bytes["unet"] // 2, 0]
    assert steps[-1].way.name == "one branch at a time, feed-forwards in slices"
    assert steps[-1].resident == {"unet": 0}


def test_approximate_rungs_come_last_and_leave_the_other_phases_alone():
    found = plans(on=facts(host=11 * GB))
    steps = list(rungs(found, "decode"))
    exact = [plan.phase("decode").way.exact for plan in steps]
    assert exact == sorted(exact, reverse=True)
    assert not exact[-1]
    assert steps[-1].phase("sample") == found.chosen.phase("sample")
    peaks = [plan.phase("decode").peak_bytes for plan in steps]
    assert peaks == sorted(set(peaks), reverse=True)


@given(
    room=st.integers(3 * GB, 40 * GB),
    frames=st.integers(2, 25),
    width=st.sampled_from([256, 576, 1024, 1920]),
    height=st.sampled_from([256, 320, 576, 1024]),
    policy=st.sampled_from(["auto", "high", "normal", "low", "none"]),
    decode=st.sampled_from(["auto", "whole", "chunked", "tiled"]),
    guidance_max=st.sampled_from([1.0, 3.0]),
)
def test_whatever_is_asked_for_the_plan_fits_or_says_what_would(room, policy, **asked):
    found = plans(policy, on=facts(room=room), **asked)
    if found.chosen is None:
        assert found.message
        assert found.remedy
        return
    assert found.chosen.peak_bytes <= room
    for phase in ("encode", "sample", "decode"):
        steps = list(rungs(found, phase))
        assert len(steps) <= 20
        peaks = [plan.phase(phase).peak_bytes for plan in steps]
        assert peaks == sorted(set(peaks), reverse=True)

import os
import zlib
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from studio.engines import rife
from studio.engines.gaps import Gap
from studio.engines.rife_net import RifeNet, shape_of
from studio.errors import BadInput, Cancelled, DoesNotFit, StudioError
from studio.models.catalog import Catalog
from studio.models.costs import phases_of
from studio.models.costs.rife import Between
from studio.models.installed import Installed, find
from studio.models.manager import ModelManager
from studio.models.memory import Device
from studio.models.spec import read_spec
from studio.settings import Settings
from tests.engines.held import Held

SPEC = read_spec(Settings().configs / "models" / "rife.yaml")
GOLDEN = np.load(Path(__file__).parent.parent / "data" / "rife.npz")
"""What the published code gives for `seeded` weights and `pictures`, of the middle 32x32."""


class Listening:
    """A context as far as engines need one."""

    def __init__(self, cancel_after=10**9):
        self._left, self.notices = cancel_after, []

    def notice(self, sentence):
        self.notices.append(sentence)

    def check(self):
        self._left -= 1
        if self._left < 0:
            raise Cancelled()


def seeded(shapes, far=1.0):
    """Weights for those names and shapes, each drawn from its name; `far` multiplies what the blocks find."""
    state = {}
    for name, shape in shapes.items():
        drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        gain = (0.5 if "lastconv" in name else 1.2) / np.sqrt(np.prod(shape[1:])) if len(shape) == 4 else 0.05
        if "beta" in name:
            gain = 0.3
        if "lastconv" in name:
            gain *= far
        state[name] = torch.from_numpy(drawn * np.float32(gain))
    return state


def pictures():
    y, x = torch.meshgrid(torch.linspace(0, 6, 64), torch.linspace(0, 6, 64), indexing="ij")
    first = torch.stack([torch.sin(x + y), torch.cos(1.3 * x), torch.sin(0.7 * y)])[None] / 2 + 0.5
    return first, first.roll((3, 5), (2, 3)) * 0.95


def network(shape, far=1.0):
    net = RifeNet(shape).eval()
    net.load_state_dict(seeded({n: tuple(t.shape) for n, t in net.state_dict().items()}, far))
    return net


def components(net):
    return Held(SPEC, {"network": net})


def frame(seed, height=40, width=56):
    small = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
    return np.kron(small, np.ones((8, 8, 1), np.uint8))


@pytest.fixture(scope="module")
def engine():
    return rife.Engine(SPEC, components(network("4.25")))


@pytest.mark.parametrize(("case", "shape", "far"), [("4.25", "4.25", 1), ("4.0", "4.0", 0.1), ("4.0 far", "4.0", 2.5)])
def test_the_network_gives_what_the_published_code_gives(case, shape, far):
    first, second = pictures()
    net = network(shape, far)
    with torch.inference_mode():
        made = net(net.side(first), net.side(second), 0.3)[0, :, 16:48, 16:48].numpy()
    np.testing.assert_allclose(made, GOLDEN[case], atol=5e-5)
    assert np.abs(made - (0.7 * first + 0.3 * second)[0, :, 16:48, 16:48].numpy()).max() > 0.05, "it did nothing"


def test_the_shape_is_read_off_the_names_of_the_weights():
    names = set(RifeNet("4.25").state_dict())
    assert (len(names), shape_of(names)) == (158, "4.25")
    assert shape_of(RifeNet("4.0").state_dict()) == "4.0"
    assert shape_of(names - {"encode.cnn0.bias"}) is None


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_weights_are_opened_and_placed_as_they_lie_in_the_file(tmp_path, dtype):
    net = network("4.0")
    save_file(net.state_dict(), tmp_path / "network.safetensors")
    found = Installed("rife", "plain", tmp_path, {"network": tmp_path / "network.safetensors"}, "fp32")
    placed = rife.open_weights("network", found, "cpu", dtype).place(lambda done, total: None)
    wanted = torch.float16 if dtype == "fp16" else torch.float32
    for name, tensor in placed.state_dict().items():
        assert torch.equal(tensor, net.state_dict()[name].to(wanted)), name


def test_a_file_of_another_network_is_turned_away(tmp_path):
    file = tmp_path / "network.safetensors"
    found = Installed("rife", "plain", tmp_path, {"network": file}, "fp32")
    save_file({"w": torch.zeros(2)}, file)
    with pytest.raises(BadInput, match="holds no RIFE network"):
        rife.open_weights("network", found, "cpu", "fp32")
    state = network("4.0").state_dict()
    save_file({**state, "block0.lastconv.bias": torch.zeros(6)}, file)
    with pytest.raises(BadInput, match=r"block0\.lastconv\.bias is not what RIFE 4\.0 has there"):
        rife.open_weights("network", found, "cpu", "fp32")


def test_between_gives_a_frame_for_each_time_and_the_frames_themselves_at_the_ends(engine):
    first, second = frame(0), frame(1)
    made = engine.between(first, second, [0, 0.25, 0.5, 1], Listening())
    assert all(f.shape == first.shape and f.dtype == np.uint8 for f in made)
    assert np.array_equal(made[0], first)
    assert np.array_equal(made[3], second)
    assert not np.array_equal(made[1], made[2])
    assert engine.between(first, second, [], Listening()) == []


def test_filling_gives_the_same_bytes_as_one_gap_after_the_other(engine):
    frames = [frame(i) for i in range(4)]
    gaps = [Gap(a, b, [0.5]) for a, b in pairwise(frames)]
    together = [made[0] for made in engine.fill(iter(gaps), Listening())]
    alone = [engine.between(*gap, Listening())[0] for gap in gaps]
    assert np.array_equal(together, alone)
    assert list(engine.fill([], Listening())) == []


def test_no_more_gaps_are_read_than_are_worked_on(engine):
    read = []

    def gaps():
        for i in range(50):
            read.append(i)
            yield Gap(frame(0), frame(0), [0.5])

    filled = engine.fill(gaps(), Listening())
    next(filled)
    assert len(read) <= torch.get_num_threads() + 1
    filled.close()


def test_two_frames_that_are_the_same_have_the_same_between_them(engine):
    assert np.array_equal(engine.between(frame(3), frame(3), [0.4], Listening())[0], frame(3))


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25])
def test_odd_sizes_come_out_as_they_went_in_at_every_scale(engine, scale):
    first, second = frame(0)[:37, :51], frame(1)[:37, :51]
    assert engine.between(first, second, [0.5], Listening(), scale=scale)[0].shape == first.shape


def test_what_can_not_be_filled_is_said(engine):
    with pytest.raises(ValueError, match="is not uint8"):
        engine.between(frame(0), frame(0)[:8], [0.5], Listening())
    with pytest.raises(ValueError, match=r"is not all in 0\.\.1"):
        engine.between(frame(0), frame(1), [1.5], Listening())


def test_numbers_that_are_not_finite_never_become_a_frame():
    net = network("4.0")
    torch.nn.init.constant_(net.block0.lastconv.bias, float("nan"))
    with pytest.raises(StudioError, match="not finite"):
        rife.Engine(SPEC, components(net)).between(frame(0), frame(1), [0.5], Listening())


def test_cancelling_ends_it_and_torchs_threads_are_as_before(engine):
    before = torch.get_num_threads()
    with pytest.raises(Cancelled):
        engine.between(frame(0), frame(1), [0.25, 0.5], Listening(cancel_after=1))
    assert torch.get_num_threads() == before


def test_the_network_is_held_for_the_interpolate_phase():
    held, used = components(network("4.0")), []
    held.use = lambda *names, phase: used.append((names, phase)) or nullcontext([held.modules["network"]])
    rife.Engine(SPEC, held).between(frame(0), frame(1), [0.5], Listening())
    assert used == [(("network",), "interpolate")]


# --- memory -------------------------------------------------------------------------------------------------------


def test_there_is_a_plan_only_for_frames_whose_size_is_known():
    costs = {"value_bytes": 4, "exact_savings": True}
    assert phases_of(SPEC, SimpleNamespace(width=None, height=None, scale="auto"), **costs) == ()
    (phase,) = phases_of(SPEC, Between(3840, 2176, (0.5, 0.25)), **costs)
    assert [(way.choice, way.exact) for way in phase.ways] == [(0.5, True), (0.25, False)]
    assert phase.ways[0].working_bytes > phase.ways[1].working_bytes


@pytest.fixture
def short_of_memory(tmp_path):
    """Engine on a real manager, whose network runs out of memory where `fails(which call it is, scale)` says so."""
    net, calls = network("4.0"), []
    save_file(net.state_dict(), tmp_path / "network.safetensors")
    found = Installed("rife", "plain", tmp_path, {"network": tmp_path / "network.safetensors"}, "fp32")

    def open_weights(*args):
        weights = rife.open_weights(*args)
        place = weights.place

        def placed(report):
            module = place(report)
            module.register_forward_pre_hook(lambda _, args: at(args[3]))
            return module

        weights.place = placed
        return weights

    def at(scale):
        calls.append(scale)
        if made.fails(len(calls) - 1, scale):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.25 GiB.")

    family = SimpleNamespace(open_weights=open_weights, Engine=rife.Engine)
    manager = ModelManager(
        Catalog(Settings().configs / "models"),
        lambda: Device("cpu", "CPU", "fp32"),
        find=lambda _: found,
        family=lambda _: family,
    )
    made = SimpleNamespace(calls=calls, fails=None, undisturbed=rife.Engine(SPEC, components(net)))

    def fill(fails, ctx, scale=None, count=6):
        made.fails = fails
        with manager.lease("rife", lambda *_: None) as engine:
            return [list(f) for f in engine.fill(gaps_of(count), ctx, scale=scale)]

    made.fill = fill
    return made


def gaps_of(count):
    return (Gap(a, b, [0.3, 0.6]) for a, b in pairwise([frame(i) for i in range(count + 1)]))


@pytest.mark.parametrize("point", [0, 1, 5, 11])
def test_memory_that_runs_out_once_changes_no_frame(short_of_memory, point):
    ctx = Listening()
    made = short_of_memory.fill(lambda call, scale: call == point, ctx)
    assert np.array_equal(made, list(short_of_memory.undisturbed.fill(gaps_of(6), Listening())))
    assert short_of_memory.calls == [1.0] * 13
    assert all("what was not in use has made room" in sentence for sentence in ctx.notices)
    assert ctx.notices or point > 0, "there was nothing to free before"


@pytest.mark.parametrize(("scale", "first"), [(0.5, 0), (0.5, 7), (0.25, 7)])
def test_memory_that_stays_short_lowers_the_scale_from_that_frame_on(short_of_memory, scale, first):
    ctx = Listening()
    made = short_of_memory.fill(lambda call, s: call >= first and s > scale, ctx)
    undisturbed = {
        s: np.concatenate(list(short_of_memory.undisturbed.fill(gaps_of(6), Listening(), scale=s)))
        for s in (1.0, scale)
    }
    made = np.concatenate(made)
    assert made.shape == undisturbed[1.0].shape, "no frame is lost or doubled"
    at = [next(s for s, frames in undisturbed.items() if np.array_equal(one, frames[i])) for i, one in enumerate(made)]
    assert at.count(1.0) <= first
    assert at.count(scale) >= 12 - first
    wanted = {0.5: "half size", 0.25: "a quarter of the size"}[scale]
    assert f"otion is looked for at {wanted}, for want of memory." in ctx.notices[-1]


def test_a_scale_that_was_asked_for_is_kept_and_the_user_told_that_it_does_not_fit(short_of_memory):
    with pytest.raises(DoesNotFit, match="not enough memory for rife with frames of 56x40") as caught:
        short_of_memory.fill(lambda call, scale: call >= 3, Listening(), scale=1.0)
    assert caught.value.remedy == "Set scale to auto, or choose flow."
    assert set(short_of_memory.calls) == {1.0}


def test_where_no_scale_fits_the_sentence_says_what_would(short_of_memory):
    with pytest.raises(DoesNotFit) as caught:
        short_of_memory.fill(lambda call, scale: True, Listening())
    assert caught.value.remedy == "Choose flow, or smaller frames."
    assert set(short_of_memory.calls) == {1.0, 0.5, 0.25}


def test_another_error_of_the_network_is_not_taken_for_want_of_memory(short_of_memory):
    def fails(call, scale):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        short_of_memory.fill(fails, Listening())
    assert len(short_of_memory.calls) <= torch.get_num_threads() + 1, "it was not tried again"


@pytest.mark.parametrize("id", ["rife", "rife-4.0"])
def test_real_weights_follow_a_picture_that_moves(id):
    spec = read_spec(Settings().configs / "models" / f"{id}.yaml")
    found = find(spec, models_dir=Path(os.environ.get("STUDIO_WHEELS", Settings().models)))
    if found is None:
        if os.environ.get("STUDIO_REQUIRE_WHEELS") == "1":
            pytest.fail(f"{id} is not installed; run: python -m studio models pull {id}")
        pytest.skip(f"{id} is not installed")
    net = rife.open_weights("network", found, "cpu", "fp32").place(lambda done, total: None)
    wide = np.kron(np.random.default_rng(0).integers(40, 216, (16, 24, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    wide = torch.nn.functional.avg_pool2d(torch.tensor(wide).permute(2, 0, 1).float(), 5, 1, 2)
    wide = wide.byte().permute(1, 2, 0).numpy()
    first, middle, last = (np.ascontiguousarray(wide[:, i : i + 160]) for i in (8, 12, 16))
    made = rife.Engine(spec, components(net)).between(first, last, [0.5], Listening())[0]
    inside = (slice(16, -16), slice(16, -16))
    missed = np.abs(made[inside].astype(float) - middle[inside]).mean()
    blended = np.abs((first[inside].astype(float) + last[inside]) / 2 - middle[inside]).mean()
    assert missed < blended / 3, (missed, blended)

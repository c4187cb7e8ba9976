"""Memory runs out at every point of a real SVD job at tiny size, and processes die: the clip is the same."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from studio.diffusion.samplers import SAMPLERS
from studio.engines import svd, svd_weights
from studio.errors import Cancelled, DoesNotFit
from studio.jobs.resume import Resume
from studio.jobs.task import Task
from studio.models.catalog import Catalog
from studio.models.decoding import Decode
from studio.models.installed import Installed
from studio.models.manager import ModelManager
from studio.models.memory import Device
from studio.models.sampling import Sample
from studio.models.spec import read_spec
from tests.engines.held import Held
from tests.engines.test_svd import FRAMES, Watch, wish
from tests.tiny import tiny_spec_yaml, tiny_weights, write_tiny_svd

STEPS = 3
PARTS = {"image_encoder": ("image_encoder",), "unet": ("unet",), "vae": ("encoder", "decoder")}
SMALL = {"width": 64, "height": 64, "steps": STEPS}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = write_tiny_svd(tmp_path_factory.mktemp("models") / "tiny", frames=FRAMES)
    return Installed("tiny", "diffusers", folder, {c: folder / f for c, f in tiny_weights().items()}, "fp32")


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    return tiny_spec_yaml("tiny", tmp_path_factory.mktemp("specs"), frames=FRAMES).parent


@pytest.fixture(scope="module")
def picture():
    return (np.random.default_rng(0).random((64, 64, 3)) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def held(configs, installed):
    def make():
        modules = {c: svd_weights.load(c, installed, "cpu", "fp32", lambda done, total: None) for c in svd.COMPONENTS}
        return Held(read_spec(configs / "tiny.yaml"), modules)

    return make


@pytest.fixture(scope="module")
def undisturbed(held, picture, configs):
    """The clip of the first ways, and those of others by what was chosen."""
    spec, known = read_spec(configs / "tiny.yaml"), {}

    def frames(**choices):
        key = repr(sorted(choices.items()))
        if key not in known:
            there = held()
            for phase, choice in choices.items():
                there.choose(phase, choice)
            known[key] = svd.Engine(spec, there).animate(picture, wish(**SMALL), Watch()).frames
        return known[key]

    return frames


class Trouble:
    """A real manager on the CPU, whose weights and networks run out of memory when it is told to.

    Args:
        fails: (what, which time it does that, the tensors that it is given) -> True to run out of memory there. What:
            ``load unet``, ..., or a network's name.
    """

    def __init__(self, configs, installed, fails):
        self.fails, self.counts, self.failed, self.streamed, self.known = fails, {}, [], [], set()
        family = SimpleNamespace(open_weights=self.open, Engine=svd.Engine)
        self.manager = ModelManager(
            Catalog(configs), lambda: Device("cpu", "CPU", "fp32"), find=lambda _: installed, family=lambda _: family
        )

    def open(self, component, *args):
        weights = svd_weights.open_weights(component, *args)
        place, stream = weights.place, weights.stream

        def placed(report):
            self.at(f"load {component}")
            return self.watch(component, place(report))

        def streamed(resident_bytes, report):
            self.at(f"load {component}")
            self.streamed.append(component)
            return self.watch(component, stream(resident_bytes, report))

        weights.place, weights.stream = placed, streamed
        return weights

    def watch(self, component, module):
        if id(module) not in self.known:
            self.known.add(id(module))
            for name in PARTS[component]:
                part = module if component != "vae" else getattr(module, name)
                part.register_forward_pre_hook(lambda _, args, name=name: self.at(name, args))
                if name == "decoder":  # decoding as a whole calls its layers, not itself
                    part.conv_in.register_forward_pre_hook(lambda _, args, name=name: self.at(name, args))
        return module

    def at(self, what, args=()):
        n = self.counts[what] = self.counts.get(what, -1) + 1
        if self.fails(what, n, args):
            self.failed.append((what, n))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.25 GiB.")

    def animate(self, picture, ctx=None, **given):
        with self.manager.lease("tiny", lambda component, done, total: None) as engine:
            return engine.animate(picture, wish(**{**SMALL, **given}), ctx or Watch()).frames


@pytest.fixture
def trouble(configs, installed):
    return lambda fails: Trouble(configs, installed, fails)


POINTS = [
    *(f"load {c}" for c in svd.COMPONENTS),
    *("image_encoder", "encoder", "decoder"),
    *(("unet", n) for n in range(STEPS)),
]


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_memory_that_runs_out_once_changes_no_bit_of_the_clip(trouble, picture, undisturbed, point):
    point = point if isinstance(point, tuple) else (point, 0)
    made = trouble(lambda what, n, args: (what, n) == point)
    ctx = Watch()
    frames = made.animate(picture, ctx)
    assert made.failed == [point]
    assert (frames == undisturbed()).all()
    assert made.counts["unet"] + 1 == STEPS + (point[0] == "unet"), "no finished step is done again"
    assert all("emory ran out" in n for n in ctx.notices)


@pytest.mark.parametrize("since", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, STEPS))])
def test_a_way_that_does_not_fit_is_left_for_the_next_at_the_step_that_was_reached(trouble, held, picture, since):
    steps_of = {2: 0, 1: 0}

    def fails(what, n, args):
        if what != "unet":
            return False
        both = len(args[0]) == 2
        steps_of[len(args[0])] += 1
        return both and steps_of[2] > since

    made, ctx = trouble(fails), Watch()
    frames = made.animate(picture, ctx)
    assert steps_of[1] == 2 * (STEPS - since)
    assert set(made.streamed) == {"unet"}, "where the plan says streamed, what was whole must go first"
    assert (frames == changing_ways(held(), picture, since)).all()
    assert ctx.notices
    assert all(n.startswith("Memory ran out while sampling;") for n in ctx.notices)
    done = [d for stage, d, _ in ctx.steps if stage == "sample"]
    assert done == sorted(done), "it went back"
    assert made.animate(picture, seed=1).shape == frames.shape


def changing_ways(there, picture, at):
    """Frames of a clip whose steps are made with both branches at once up to `at`, and with one by one from there."""
    engine = svd.Engine(there._spec, there)
    ctx = Watch("sample", at)
    with pytest.raises(Cancelled):
        engine.animate(picture, wish(**SMALL), ctx)
    there.choose("sample", Sample(branches_at_once=False))
    return engine.animate(picture, wish(**SMALL), Watch(resume_from=ctx.state)).frames


def test_where_memory_runs_out_while_decoding_it_goes_on_exactly_as_long_as_there_is_a_way(
    trouble, picture, undisturbed
):
    made, ctx = trouble(lambda what, n, args: what == "decoder" and n < 2), Watch()
    frames = made.animate(picture, ctx)
    assert np.abs(frames.astype(int) - undisturbed()).max() <= 1
    assert not [n for n in ctx.notices if "flicker" in n]
    assert made.counts["unet"] + 1 == STEPS


def test_then_in_chunks_and_says_so(trouble, picture, undisturbed):
    made, ctx = trouble(lambda what, n, args: what == "decoder" and len(args[0]) > 1), Watch()
    frames = made.animate(picture, ctx)
    assert (frames == undisturbed(decode=Decode("chunked", 1))).all()
    assert "1 frame at a time, which can flicker" in ctx.notices[-1]


def test_a_way_that_was_wished_for_by_name_is_never_left_for_one_that_is_not_exact(trouble, picture, undisturbed):
    made = trouble(lambda what, n, args: what == "decoder" and len(args[0]) > 1)
    with pytest.raises(DoesNotFit, match="not enough memory for decoding"):
        made.animate(picture, decode="whole")
    made.fails = lambda what, n, args: False
    assert (made.animate(picture) == undisturbed()).all()


@pytest.mark.parametrize("what", ["image_encoder", "encoder", "unet", "decoder"])
def test_where_nothing_fits_it_is_said_and_the_next_job_is_well(trouble, picture, undisturbed, what):
    made = trouble(lambda failing, n, args: failing == what)
    with pytest.raises(DoesNotFit, match="not enough memory for"):
        made.animate(picture)
    made.fails = lambda what, n, args: False
    assert (made.animate(picture) == undisturbed()).all()


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "lcm"])
@pytest.mark.parametrize("since", [1, STEPS])
def test_a_new_process_goes_on_from_what_the_last_one_kept(held, picture, tmp_path, sampler, since):
    given = wish(**SMALL, sampler=sampler)
    task = Task(job_id="job", mode="m", request=vars(given), target=tmp_path / "c.mp4", poster=tmp_path / "c.webp")
    first, second = held(), held()
    whole = Watch()
    frames = svd.Engine(first._spec, first).animate(picture, given, whole).frames

    dies = Watch(*(("sample", since) if since < STEPS else ("decode", 0)))
    dies.keep = Resume(tmp_path, task, every_s=0).keep
    with pytest.raises(Cancelled):
        svd.Engine(first._spec, first).animate(picture, given, dies)
    goes_on = Watch(resume_from=Resume(tmp_path, task).kept())
    again = svd.Engine(second._spec, second).animate(picture, given, goes_on).frames
    assert (again == frames).all()
    assert not [s for s in goes_on.steps if s[0] == "encode"]
    done = [d for stage, d, _ in goes_on.steps if stage == "sample"]
    assert done == (list(range(since, STEPS + 1)) if since < STEPS else [])

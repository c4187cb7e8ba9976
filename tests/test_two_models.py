"""Text-to-video with two real models at tiny size, on a device that can hold only one of them."""

import io
import re
import weakref
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studio.engines.weights import module_weights
from studio.engines.weights.carrier import Carrier
from studio.events import Finished, Notice, Step
from studio.jobs import resume
from studio.jobs.execute import execute
from studio.jobs.task import Task
from studio.jobs.workshop import Workshop
from studio.media.recipe import read_recipe
from studio.models import manager as managers
from studio.models import plan as plans
from studio.models.costs import phases_of
from studio.models.memory import Device
from studio.service import Studio
from tests.tiny import tiny_spec_yaml
from tests.tiny_sdxl import tiny_refiner_yaml, tiny_sdxl_yaml, write_tiny_refiner, write_tiny_sdxl

WORKING = 500_000
"""Of each phase: the formulas are calibrated for the full size."""

REQUEST = {
    "mode": "text-to-video", "prompt": "a red fox in the snow", "painter": "tiny-sdxl", "variant": "tiny-svd",
    "candidates": 2, "seed": 5, "width": 64, "height": 64, "negative_prompt": "fog", "style": "photo", "format": "zip",
}  # fmt: skip


class Apart(Device):
    """The CPU, with memory of its own."""

    def __init__(self) -> None:
        super().__init__("cpu", "CPU, with memory of its own", "fp32")

    @property
    def accelerator(self) -> bool:
        return True


class Counted(Carrier):
    """Copies to memory of its own, of which it knows how much there is and was at most."""

    def __init__(self) -> None:
        super().__init__("cpu", separate=True)
        self.live_bytes = self.most_bytes = 0

    def empty(self, nbytes):
        memory = super().empty(nbytes)
        self.live_bytes += nbytes
        self.most_bytes = max(self.most_bytes, self.live_bytes)
        weakref.finalize(memory, self._gone, nbytes)
        return memory

    def _gone(self, nbytes):
        self.live_bytes -= nbytes


@pytest.fixture(scope="module")
def tiny_sdxl_folder(tmp_path_factory):
    return write_tiny_sdxl(tmp_path_factory.mktemp("weights") / "tiny-sdxl")


@pytest.fixture
def home(settings, tiny_sdxl_folder, tiny_weights_folder):
    """The settings of a home in which both models are installed."""
    tiny_sdxl_yaml("tiny-sdxl", settings.home / "configs" / "models")
    tiny_spec_yaml("tiny-svd", settings.home / "configs" / "models", frames=4)
    settings.models.mkdir(parents=True)
    (settings.models / "tiny-sdxl").symlink_to(tiny_sdxl_folder)
    (settings.models / "tiny-svd").symlink_to(tiny_weights_folder)
    return settings


@pytest.fixture
def sizes(tiny_sdxl_folder, tiny_weights_folder):
    """Bytes of the files of each model."""
    return [sum(p.stat().st_size for p in f.rglob("*.safetensors")) for f in (tiny_sdxl_folder, tiny_weights_folder)]


@pytest.fixture(autouse=True)
def scaled(monkeypatch):
    def small(spec, wish, **given):
        return tuple(
            replace(cost, ways=tuple(replace(way, working_bytes=WORKING) for way in cost.ways))
            for cost in phases_of(spec, wish, **given)
        )

    monkeypatch.setattr(plans, "phases_of", small)
    monkeypatch.setattr(managers, "phases_of", small)


class Watched:
    """One job in a workshop, and what lay on the device at each of its events and at each decision."""

    def __init__(self, settings, request, *, device=None, also=lambda event: None):
        with Studio(settings) as studio:
            complete, self.notices = studio.check(request)
        folder = settings.home / "out"
        task = Task(
            job_id="job", mode=complete.mode, request=complete.model_dump(mode="json"), poster=folder / "poster.webp",
            target=folder / f"clip.{complete.format}",
        )  # fmt: skip
        self.workshop = Workshop(settings)
        self.manager = self.workshop.manager
        self.manager._look_for_device = lambda: device or Apart()
        self.events, self.at_step, self.taken, self._also = [], [], [], also
        room = self.manager.residency._room
        decided = room.decided

        def decides(what, why):
            decided(what, why)
            self.taken.append(room.taken())

        room.decided = decides
        execute(task, self.workshop, self._hear)
        self.last = self.events[-1]

    def _hear(self, event):
        self.events.append(event)
        residency = self.manager.residency
        self.taken.append(residency.held_bytes() + residency.reserved_bytes())
        if isinstance(event, Step):
            there = {(row["variants"][0], row["component"]) for row in residency.rows() if row["device_bytes"]}
            self.at_step.append((event.stage, there))
        self._also(event)

    @property
    def decisions(self):
        return [f"{d['what']}: {d['why']}" for d in self.manager.ledger()["decisions"]]


@pytest.fixture
def carrier(monkeypatch):
    counted = Counted()
    monkeypatch.setattr(module_weights, "carrier_for", lambda device: counted)
    return counted


@pytest.fixture
def run(home, carrier):
    def run(request=REQUEST, **limits):
        return Watched(home.model_copy(update=limits), request)

    return run


def frames(watched):
    """The keyframes, and then the clip's frames."""
    assert isinstance(watched.last, Finished), watched.last
    clip, *stills = watched.last.files
    with zipfile.ZipFile(clip) as file:
        shown = [io.BytesIO(file.read(name)) for name in sorted(file.namelist()) if name.endswith(".png")]
    return [np.asarray(Image.open(f).convert("RGB")).astype(int) for f in (*stills, *shown)]


def room(sizes):
    """A budget that holds the larger model and a phase's work, but not both models."""
    budget = max(sizes) + 3 * WORKING
    assert max(sizes) < budget < sum(sizes)
    return budget


@pytest.fixture
def undisturbed(home):
    """The files as they come out where memory is no question."""
    return frames(Watched(home, REQUEST, device=Device("cpu", "CPU", "fp32")))


@pytest.mark.parametrize("policy", ["auto", "normal"])
def test_both_models_work_one_after_the_other_in_room_for_one(run, sizes, carrier, undisturbed, policy):
    job = run(vram=policy, vram_budget=f"{room(sizes)}B")
    found = frames(job)
    assert len(found) == 2 + 4
    assert max(np.abs(a - b).max() for a, b in zip(found, undisturbed, strict=True)) <= 1
    planned = [d.split()[1].rstrip(":") for d in job.decisions if d.startswith("planned")]
    assert planned == ["tiny-sdxl", "tiny-svd"]
    stages = list(dict.fromkeys(stage for stage, _ in job.at_step))
    assert [s for s in stages if s != "keyframe"] == ["prompt", "sample", "decode", "encode"]


@pytest.mark.parametrize("policy", ["auto", "normal", "low"])
def test_there_is_never_more_on_the_device_than_is_allowed(run, sizes, carrier, policy):
    budget = room(sizes)
    job = run(vram=policy, vram_budget=f"{budget}B")
    assert isinstance(job.last, Finished)
    assert max(job.taken) <= budget
    assert carrier.most_bytes <= budget, "counted where the memory is taken"
    assert job.manager.unload() > 0
    assert carrier.live_bytes == 0


def test_the_ledger_shows_that_the_painters_network_left_for_the_animators_and_was_not_copied_back(run, sizes):
    job = run(vram_budget=f"{room(sizes)}B")
    left = next(i for i, d in enumerate(job.decisions) if d.startswith("displaced unet of tiny-sdxl"))
    assert re.search("makes room for .* of tiny-svd", job.decisions[left])
    assert any(d.startswith("placed unet of tiny-svd") for d in job.decisions[left:])
    assert [d.split(":")[0] for d in job.decisions if d.startswith("displaced")] == ["displaced unet of tiny-sdxl"]
    moved = job.manager.ledger()["moved"]
    assert moved["device_to_host_bytes"] == 0
    assert moved["host_to_device_bytes"] == moved["read_bytes"], "each came once"
    assert 0.98 < moved["read_bytes"] / sum(sizes) <= 1
    there = {(r["variants"][0], r["component"]) for r in job.manager.ledger()["components"] if r["device_bytes"]}
    assert ("tiny-svd", "unet") in there
    assert ("tiny-sdxl", "unet") not in there


def test_the_text_encoders_are_gone_before_sampling_where_only_what_a_phase_needs_may_stay(run, sizes):
    job = run(vram="normal", vram_budget=f"{room(sizes)}B")
    for stage, there in job.at_step:
        if stage == "sample":
            assert there in ({("tiny-sdxl", "unet")}, {("tiny-svd", "unet")})
        if stage == "decode":
            assert {component for _, component in there} == {"vae"}
    assert any({c for _, c in there} == {"text_encoder", "text_encoder_2"} for _, there in job.at_step)
    assert any("displaced text_encoder_2 of tiny-sdxl" in d for d in job.decisions)
    moved = job.manager.ledger()["moved"]
    assert moved["device_to_host_bytes"] == 0
    assert moved["read_bytes"] < moved["host_to_device_bytes"], "what comes back comes from host memory, not the file"


def test_however_many_keyframes_there_are_each_of_the_painters_networks_comes_once(run, sizes):
    job = run({**REQUEST, "make": "keyframes", "candidates": 3}, vram="normal", vram_budget=f"{room(sizes)}B")
    assert len(frames(job)) == 3 + 3
    moved = job.manager.ledger()["moved"]
    assert moved["host_to_device_bytes"] == moved["read_bytes"]
    assert 0.98 < moved["read_bytes"] / sizes[0] <= 1
    placed = [d.split(":")[0] for d in job.decisions if d.startswith("placed")]
    assert len(placed) == len(set(placed)) == 4


def test_where_not_even_the_painter_fits_whole_it_is_streamed_and_paints_the_same(run, sizes, undisturbed):
    job = run(vram_budget=f"{max(sizes) // 2}B")
    assert any("placed unet of tiny-sdxl, streamed" in d for d in job.decisions)
    assert max(np.abs(a - b).max() for a, b in zip(frames(job), undisturbed, strict=True)) <= 1
    assert max(job.taken) <= max(sizes) // 2


def test_the_recipe_has_the_hashes_of_both_models_and_the_keyframes_facts(run, sizes):
    job = run(vram_budget=f"{room(sizes)}B")
    recipe = read_recipe(Path(job.last.files[1]))
    owners = {name.partition("/")[0] for name in recipe["components"]}
    assert owners == {"tiny-sdxl", "tiny-svd"}
    assert recipe["components"].keys() >= {"tiny-sdxl/unet", "tiny-svd/unet"}
    assert [k["seed"] for k in recipe["facts"]["keyframes"]] == [5, 6]
    assert {variant: set(ways) for variant, ways in recipe["facts"]["ways"].items()} == {
        "tiny-sdxl": {"prompt", "sample", "decode"},
        "tiny-svd": {"encode", "sample", "decode"},
    }


class Died(BaseException):
    """The process is gone."""


@pytest.mark.parametrize(("stage", "nth"), [("sample", 2), ("decode", 2), ("encode", 1), ("sample", 8), ("decode", 5)])
def test_a_process_that_dies_in_either_model_is_gone_on_from_with_the_same_result(
    home, carrier, undisturbed, monkeypatch, stage, nth
):
    monkeypatch.setattr(resume, "KEEP_EVERY_S", 0.0)
    heard = []

    def dies(event):
        heard.append(getattr(event, "stage", ""))
        if heard.count(stage) == nth:
            raise Died

    with pytest.raises(Died):
        Watched(home, REQUEST, also=dies)
    again = Watched(home, REQUEST)
    assert max(np.abs(a - b).max() for a, b in zip(frames(again), undisturbed, strict=True)) <= 1


def test_what_was_painted_is_not_painted_again_when_the_process_dies_in_the_animator(home, carrier, undisturbed):
    def dies(event):
        if getattr(event, "stage", "") == "encode":
            raise Died

    with pytest.raises(Died):
        Watched(home, REQUEST, also=dies)
    again = Watched(home, REQUEST)
    assert {variant for _, there in again.at_step for variant, _ in there} == {"tiny-svd"}
    assert max(np.abs(a - b).max() for a, b in zip(frames(again), undisturbed, strict=True)) <= 1
    assert list((home.home / "resume").iterdir()) == []


@pytest.fixture
def refined(home, tmp_path_factory):
    """A request with a refiner, which is installed."""
    write_tiny_refiner(home.models / "tiny-refiner")
    tiny_refiner_yaml("tiny-refiner", home.home / "configs" / "models")
    return {**REQUEST, "make": "keyframes", "format": "zip", "refiner": "tiny-refiner", "refine_from": 0.5}


def test_the_bases_network_leaves_before_the_refiners_comes(home, run, refined):
    unets = [sum(p.stat().st_size for p in (home.models / id / "unet").rglob("*.safetensors"))
             for id in ("tiny-sdxl", "tiny-refiner")]  # fmt: skip
    budget = max(unets) + 3 * WORKING
    assert budget < sum(unets)
    job = run(refined, vram="normal", vram_budget=f"{budget}B")
    assert isinstance(job.last, Finished), job.last
    assert max(job.taken) <= budget
    sampling = [frozenset(there) for stage, there in job.at_step if stage == "sample"]
    assert set(sampling) == {frozenset({("tiny-sdxl", "unet")}), frozenset({("tiny-refiner", "unet")})}
    placed = [d.split(":")[0] for d in job.decisions if d.startswith("placed")]
    assert "placed vae of tiny-refiner" in placed
    assert "placed vae of tiny-sdxl" not in placed, "the base decodes nothing"
    assert {v: set(ways) for v, ways in read_recipe(Path(job.last.files[1]))["facts"]["ways"].items()} == {
        "tiny-sdxl": {"prompt", "sample"},
        "tiny-refiner": {"prompt", "sample", "decode"},
    }


@pytest.mark.parametrize(("stage", "nth"), [("sample", 3), ("sample", 8), ("decode", 3)])
def test_a_process_that_dies_in_the_base_or_the_refiner_is_gone_on_from(
    home, carrier, refined, monkeypatch, stage, nth
):
    monkeypatch.setattr(resume, "KEEP_EVERY_S", 0.0)
    request = {**refined, "paint_steps": 4}
    whole = frames(Watched(home, request))
    heard = []

    def dies(event):
        heard.append(getattr(event, "stage", ""))
        if heard.count(stage) == nth:
            raise Died

    with pytest.raises(Died):
        Watched(home, request, also=dies)
    again = Watched(home, request)
    assert all(np.array_equal(a, b) for a, b in zip(frames(again), whole, strict=True))
    assert sum(s == "sample" for s, _ in again.at_step) < sum(s == "sample" for s in heard) + 8


def test_keyframes_alone_leave_the_animator_where_it_is(run):
    job = run({**REQUEST, "make": "keyframes"})
    assert isinstance(job.last, Finished)
    assert {stage for stage, _ in job.at_step} == {"keyframe", "prompt", "sample", "decode"}
    assert not any("tiny-svd" in d for d in job.decisions)
    assert sum(isinstance(e, Notice) for e in job.events) == 0

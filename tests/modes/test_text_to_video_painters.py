"""What text-to-video asks of painters and refiners, seen at the seam where engines are leased."""

import numpy as np
import pytest

from studio.errors import BadInput
from studio.modes import all_modes
from studio.modes.text_to_video import MODE, STYLES, TextToVideo
from tests.modes.test_text_to_video import CHOICE


@pytest.fixture
def sdxl_is_here(studio, monkeypatch):
    monkeypatch.setattr(type(studio._shelf), "check_usable", lambda self, variant, *, field="variant": None)


def test_a_lora_that_is_not_there_is_refused_before_there_is_a_job_and_those_that_are_there_are_named(
    studio, sdxl_is_here
):
    wish = {**CHOICE, "painter": "sdxl", "loras": ["grain:0.5", "inc"]}
    with pytest.raises(BadInput, match=r"loras: grain\.safetensors is not in") as caught:
        studio.submit(wish)
    assert (caught.value.field, caught.value.remedy) == ("loras", "There is none; put it there, or check its name.")
    folder = studio.settings.loras[0]
    folder.mkdir(parents=True)
    for name in ("grain", "ink"):
        (folder / f"{name}.safetensors").write_bytes(b"")
    with pytest.raises(BadInput, match=r"inc\.safetensors is not in") as caught:
        studio.submit(wish)
    assert caught.value.remedy.startswith("There are grain.safetensors, ink.safetensors; ")
    assert studio.history() == []
    assert studio.plan(wish).says, "a plan needs no file"
    assert studio.submit({**CHOICE, "loras": ["inc"]}).notices == ("loras: toybox does not use it; ignored.",)


class Painter:
    """Stands at the seam where an engine is leased; notes what it is asked for."""

    def __init__(self):
        self.asked = []

    def size_for(self, width, height):
        return 96, 64

    def paint_all(self, prompt, paints, ctx):
        for paint in paints:
            self.asked.append((prompt, paint))
            yield np.random.default_rng(paint.seed).integers(0, 256, (64, 96, 3)).astype(np.uint8)

    def sketch_all(self, prompt, paints, ctx):
        self.asked += [(prompt, paint) for paint in paints]
        return {"x": np.arange(len(paints))}

    def refine_all(self, prompt, paints, sketches, ctx):
        assert len(sketches["x"]) == len(paints)
        return self.paint_all(prompt, paints, ctx)


class Ctx:
    def __init__(self, folder):
        self.painter, self.shown, self.leased, self.made, self._folder = Painter(), [], [], {}, folder

    def once(self, name, make):
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def lease(self, variant):
        from contextlib import nullcontext

        self.leased.append(variant)
        return nullcontext(self.painter)

    def lora(self, name):
        return self._folder / name

    def step(self, *args, preview=None, **more):
        if preview is not None:
            self.shown.append(preview())

    def notice(self, sentence):
        pass


def test_a_painter_gets_the_styled_prompt_its_own_size_and_the_loras_with_their_weights(tmp_path):
    request = TextToVideo(
        prompt="a cup", painter="sdxl", make="keyframes", candidates=2, style="clay", seed=5, width=640, height=360,
        loras=("grain.safetensors:0.5", "ink", "odd:-1"), paint_steps=7, paint_sampler="heun", paint_guidance=4.0,
        negative_prompt="fog",
    )  # fmt: skip
    ctx = Ctx(tmp_path)
    result = all_modes()["text-to-video"].run(request, ctx)
    (prompt, first), (_, second) = ctx.painter.asked
    assert prompt == STYLES["clay"].format("a cup")
    assert (first.width, first.height, first.steps, first.sampler, first.guidance_scale) == (96, 64, 7, "heun", 4.0)
    assert (first.seed, second.seed, first.negative_prompt) == (5, 6, "fog")
    assert (first.candidates, first.refine_from) == (2, None)
    assert first.loras == tuple((str(tmp_path / n), w) for n, w in
                                (("grain.safetensors", 0.5), ("ink", 1.0), ("odd", -1.0)))  # fmt: skip
    assert result.clip.frames.shape == (2, 64, 96, 3)
    assert ctx.painter.asked[0][0].startswith("a cup")


def test_the_keyframes_that_are_there_are_seen_as_a_grid_while_the_others_come(tmp_path):
    ctx = Ctx(tmp_path)
    MODE.run(TextToVideo(prompt="a cup", make="keyframes", candidates=5, seed=1, width=96, height=64), ctx)
    assert [len(grid) for grid in ctx.shown] == [1] * 5, "each is one picture"
    assert [grid.width > 2 * grid.height for grid in ctx.shown] == [
        False,
        True,
        False,
        False,
        True,
    ]  # 1, 2 x 1, 2 x 2, 2 x 2, 3 x 2


def test_a_refiner_gets_what_the_painter_began_for_the_same_wishes_without_the_loras(tmp_path):
    request = TextToVideo(prompt="a cup", painter="sdxl", refiner="sdxl-refiner", refine_from=0.7, make="keyframes",
                          candidates=2, seed=5, width=96, height=64, loras=("grain.safetensors:0.5",))  # fmt: skip
    ctx = Ctx(tmp_path)
    result = MODE.run(request, ctx)
    assert ctx.leased == ["sdxl", "sdxl-refiner"]
    began, ended = ctx.painter.asked[:2], ctx.painter.asked[2:]
    assert [p.seed for _, p in began] == [p.seed for _, p in ended] == [5, 6]
    assert {p.refine_from for _, p in [*began, *ended]} == {0.7}
    assert [len(p.loras) for _, p in [*began, *ended]] == [1, 1, 0, 0]
    assert result.clip.frames.shape == (2, 64, 96, 3)
    assert [still.request["refiner"] for still in result.stills.values()] == ["sdxl-refiner"] * 2


@pytest.mark.parametrize("refiner", [None, "sdxl-refiner"])
def test_what_a_process_that_died_painted_is_not_painted_again(tmp_path, refiner):
    request = TextToVideo(prompt="a cup", painter="sdxl", refiner=refiner, make="keyframes", candidates=2, seed=5,
                          width=96, height=64)  # fmt: skip
    died, again = Ctx(tmp_path), Ctx(tmp_path)
    before = MODE.run(request, died)
    again.made = died.made
    after = MODE.run(request, again)
    assert again.painter.asked == []
    assert np.array_equal(before.clip.frames, after.clip.frames)
    assert [s.request for s in before.stills.values()] == [s.request for s in after.stills.values()]


def test_an_empty_prompt_is_not_dressed_in_a_style(tmp_path):
    ctx = Ctx(tmp_path)
    MODE.run(TextToVideo(prompt=" ", make="keyframes", style="photo", seed=1, width=96, height=64), ctx)
    assert ctx.painter.asked[0][0] == " "


@pytest.mark.parametrize("lora", ["grain:much", "grain:", "grain:nan", "grain:inf", "grain:1e999"])
def test_a_weight_that_is_no_number_names_the_field(tmp_path, lora):
    request = TextToVideo(prompt="x", painter="sdxl", make="keyframes", loras=(lora,), seed=1, width=96, height=64)
    with pytest.raises(BadInput, match="is not a number") as caught:
        MODE.run(request, Ctx(tmp_path))
    assert caught.value.field == "loras"

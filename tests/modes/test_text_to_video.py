"""A sentence, keyframes, a clip: through the whole studio with the embedded engines, at a small size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studio.errors import BadInput, NotInstalled
from studio.media.probe import probe
from studio.media.score import score
from studio.modes.request import MAX_SEED
from studio.modes.text_to_video import MODE, STYLES, TextToVideo

SMALL = {"mode": "text-to-video", "prompt": "a red ball on a box", "width": 64, "height": 64, "seed": 3}
CLIP = {**SMALL, "frames": 2}
STILL_CAMERA = {**CLIP, "variant": "parallax", "painter": "toybox", "amount": 0.0}
CHOICE = {**SMALL, "make": "keyframes"}


@pytest.fixture
def make(studio):
    """Runs a request to its end, which has to be a good one."""

    def make(request, **more):
        job = studio.wait(studio.submit({**request, **more}).id)
        assert job.state == "done", job.error
        return job

    return make


@pytest.fixture
def used(studio):
    """The roles that a request uses, in order."""

    def used(request, **more):
        complete, _ = studio.check({**request, **more})
        return MODE.used_roles(complete, studio.catalog)

    return used


def pixels(path):
    return np.asarray(Image.open(path))


def keyframes(job):
    return [pixels(f) for f in job.files[1:]]


# --- what is used -------------------------------------------------------------------------------------------------


def test_what_films_its_own_scenes_needs_no_painter_and_a_painter_that_is_left_over_is_none(used, studio):
    assert used(CLIP) == ("variant",)
    assert studio.check(CLIP)[0].painter is None
    assert studio.check({**CLIP, "painter": None})[0].painter is None


def test_what_animates_a_picture_needs_a_painter_first(used):
    assert used(CLIP, variant="parallax") == ("painter", "variant")
    assert used(CLIP, variant="parallax", painter="sdxl") == ("painter", "variant")


def test_keyframes_alone_need_only_the_painter(used):
    assert used(CHOICE, variant="svd-xt", painter="toybox") == ("painter",)
    assert used(CHOICE, painter="sdxl") == ("painter",)


def test_keyframes_of_a_clip_that_was_filmed_are_painted_by_what_filmed_it(studio):
    assert studio.check({**CHOICE, "painter": None, "variant": "toybox"})[0].painter == "toybox"
    assert studio.check({**CHOICE, "painter": None})[0].painter == "toybox"


def test_another_painter_for_what_films_its_own_scenes_is_a_conflict_that_says_what_would_do(studio):
    with pytest.raises(BadInput) as caught:
        studio.check({**CLIP, "painter": "sdxl", "variant": "toybox"})
    assert caught.value.field == "variant"
    assert "toybox films its own scenes, not a picture by sdxl" in caught.value.message
    assert "parallax" in caught.value.remedy


@pytest.mark.parametrize("painter", ["nothing-of-the-kind", "svd-xt", ""])
def test_a_painter_that_can_not_paint_names_its_field(studio, painter):
    with pytest.raises(BadInput) as caught:
        studio.check({**CLIP, "variant": "parallax", "painter": painter})
    assert caught.value.field == "painter"
    assert caught.value.message.startswith("painter: ")


def test_a_refiner_works_between_the_painter_and_what_moves_with_its_own_share(used, studio):
    wide = {"painter": "sdxl", "variant": "parallax", "refiner": "sdxl-refiner"}
    assert used(CLIP, **wide) == ("painter", "refiner", "variant")
    assert used({**CHOICE, **wide}) == ("painter", "refiner")
    complete, notices = studio.check({**CLIP, **wide})
    assert (complete.refine_from, notices) == (0.8, [])
    plain, notices = studio.check({**CLIP, **wide, "refiner": None, "refine_from": 0.7})
    assert (plain.refine_from, len(notices)) == (None, 1)
    wishes = [wish for _, wish in MODE.uses(complete, studio.catalog)][:2]
    assert [wish.refine_from for wish in wishes] == [0.8, 0.8]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"variant": "parallax"}, "sdxl-refiner can't go on with what toybox paints"),
        ({}, "sdxl-refiner can't go on with what toybox paints"),
        ({"painter": "sdxl", "variant": "parallax", "refiner": "sdxl"}, "can't do refine"),
        ({"painter": "sdxl", "variant": "parallax", "refiner": "nothing"}, "is not known"),
    ],
)
def test_a_refiner_that_has_nothing_to_go_on_with_names_its_field(studio, more, says):
    with pytest.raises(BadInput, match=says) as caught:
        studio.check({**CLIP, "refiner": "sdxl-refiner", **more})
    assert caught.value.field == "refiner"


def test_fields_that_nothing_listens_to_are_told_and_left_out(studio):
    complete, notices = studio.check({**CHOICE, "style": "photo", "paint_steps": 9, "motion_bucket": 100})
    assert (complete.style, complete.paint_steps, complete.motion_bucket, complete.frames) == (None,) * 4
    assert sorted(n.partition(":")[0] for n in notices) == ["motion_bucket", "paint_steps", "style"]


def test_any_size_of_clip_will_do_for_a_painter_that_has_sizes_of_its_own(studio):
    complete, _ = studio.check({**CLIP, "painter": "sdxl", "variant": "parallax", "width": 642, "height": 82})
    assert (complete.width, complete.height, complete.paint_steps, complete.style) == (642, 82, 30, "none")


# --- keyframes ----------------------------------------------------------------------------------------------------


def test_candidates_have_the_seed_and_those_after_it_and_the_last_is_followed_by_the_first(make, studio):
    job = make(CHOICE, candidates=3, seed=MAX_SEED - 1)
    assert [k["seed"] for k in studio.recipe(Path(job.files[0]))["facts"]["keyframes"]] == [MAX_SEED - 1, MAX_SEED, 0]
    for seed, picture in zip((MAX_SEED - 1, MAX_SEED, 0), keyframes(job), strict=True):
        assert np.array_equal(picture, keyframes(make(CHOICE, seed=seed))[0])


def test_keyframes_alone_are_a_zip_unless_another_format_is_asked_for(make, studio):
    job = make(CHOICE, candidates=2)
    assert [Path(f).suffix for f in job.files] == [".zip", ".png", ".png"]
    assert probe(Path(job.files[0])).frames == 2
    for format in ("gif", "mp4", "webp"):
        assert studio.check({**CHOICE, "format": format})[0].format == format
    assert probe(Path(make(CHOICE, candidates=3, format="gif").files[0])).frames == 3


def test_an_output_names_the_format_of_keyframes_too(studio, tmp_path):
    job = studio.wait(studio.submit(CHOICE, output=tmp_path / "choice.gif").id)
    assert [Path(f).name for f in job.files] == ["choice.gif", "choice-keyframe-1.png"]


@pytest.mark.parametrize("request_", [CLIP, STILL_CAMERA, CHOICE], ids=["filmed", "animated", "keyframes"])
def test_a_keyframes_own_recipe_makes_the_very_same_picture_again(make, studio, request_):
    job = make(request_, candidates=2)
    for file in job.files[1:]:
        assert studio.recipe(Path(file))["request"]["candidates"] == 1
        again = studio.wait(studio.rerun_file(Path(file)).id)
        assert again.state == "done", again.error
        assert [Path(f).suffix for f in again.files] == [".zip", ".png"]
        assert np.array_equal(pixels(again.files[1]), pixels(file))


def test_finishing_steps_belong_to_the_clip_and_not_to_a_keyframe(make, studio):
    job = make(CLIP, frames=3, finish=["boomerang"])
    assert probe(Path(job.files[0])).frames == 4
    assert studio.recipe(Path(job.files[1]))["request"]["finish"] == []


# --- which is animated --------------------------------------------------------------------------------------------


def test_the_best_by_score_is_animated_unless_one_is_picked(make, studio):
    job = make(STILL_CAMERA, candidates=3)
    facts = studio.recipe(Path(job.files[0]))["facts"]
    scores = [score(picture).public() for picture in keyframes(job)]
    assert [k["score"] for k in facts["keyframes"]] == scores
    best = max(range(3), key=lambda i: scores[i]["total"])
    assert facts["picked"] == best + 1
    for pick in (1, 2, 3):
        picked = make(STILL_CAMERA, candidates=3, pick=pick, format="zip")
        assert studio.recipe(Path(picked.files[0]))["facts"]["picked"] == pick
        assert any(f"Keyframe {pick} of 3 is animated" in n for n in picked.notices)


@pytest.mark.parametrize("request_", [CLIP, STILL_CAMERA], ids=["filmed", "animated"])
def test_the_clip_begins_with_the_keyframe_that_is_picked(make, request_):
    job = make(request_, candidates=2, pick=2, format="zip", amount=0.0)
    first = _first_frame(job)
    others = keyframes(job)
    assert np.abs(first - others[1]).mean() < 2 < np.abs(first - others[0]).mean()


def _first_frame(job):
    import io
    import zipfile

    with zipfile.ZipFile(job.files[0]) as file:
        name = min(n for n in file.namelist() if n.endswith(".png"))
        return np.asarray(Image.open(io.BytesIO(file.read(name))).convert("RGB")).astype(float)


def test_a_pick_beyond_the_candidates_is_refused(studio):
    with pytest.raises(BadInput) as caught:
        studio.check({**CLIP, "candidates": 2, "pick": 3})
    assert caught.value.field == "pick"


def test_the_same_request_gives_the_same_bytes_twice(make):
    for request in (CLIP, {**STILL_CAMERA, "candidates": 2}, {**CHOICE, "candidates": 2}):
        first, second = make(request), make(request)
        for a, b in zip(first.files, second.files, strict=True):
            assert Path(a).read_bytes() == Path(b).read_bytes()


def test_a_clip_and_its_keyframes_say_how_both_were_made(make, studio):
    job = make(STILL_CAMERA, candidates=2)
    clip, still = (studio.recipe(Path(f)) for f in job.files[:2])
    assert clip["request"]["make"] == "clip"
    assert (still["request"]["make"], still["request"]["painter"]) == ("keyframes", "toybox")
    assert clip["facts"] == still["facts"]
    assert {"keyframes", "picked", "fit"} <= set(clip["facts"])
    assert still["request"]["variant"] == "parallax", "from a keyframe one can go on to the same clip"


# --- what is not there --------------------------------------------------------------------------------------------


def test_a_painter_that_is_not_installed_says_so_at_its_field_with_size_and_command(studio):
    for more in ({"variant": "parallax"}, {"make": "keyframes"}):
        with pytest.raises(NotInstalled) as caught:
            studio.submit({**SMALL, "painter": "sdxl", **more})
        assert caught.value.field == "painter"
        assert "GB" in caught.value.message
        assert "models pull sdxl" in caught.value.remedy
    assert studio.history() == []


def test_without_svd_keyframes_are_painted_all_the_same_and_a_clip_names_what_is_missing(make, studio):
    assert len(make(CHOICE, variant="svd-xt").files) == 2
    with pytest.raises(NotInstalled) as caught:
        studio.submit({**SMALL, "variant": "svd-xt", "width": 512, "height": 512})
    assert caught.value.field == "variant"
    assert "models pull svd-xt" in caught.value.remedy


def test_a_plan_is_that_of_the_models_that_are_used(studio):
    assert studio.plan({**CHOICE, "variant": "svd-xt"}).says.startswith("needs no weights")
    sdxl, svd = (studio.plan({**SMALL, "width": 1024, "height": 576, **more}).spec.id
                 for more in ({"painter": "sdxl", "variant": "parallax"}, {"variant": "svd-xt"}))  # fmt: skip
    assert (sdxl, svd) == ("sdxl", "svd-xt")


@pytest.mark.parametrize(("width", "height"), [(64, 2048), (2048, 64)])
def test_a_picture_that_is_all_length_ends_well(make, width, height):
    job = make(CHOICE, width=width, height=height, candidates=2)
    assert keyframes(job)[0].shape == (height, width, 3)


def test_what_a_job_took_is_not_told_of_another_painter_or_of_more_candidates(make, studio):
    make(CHOICE)
    assert "as last time" in studio.plan(CHOICE).says
    assert "as last time" not in studio.plan({**CHOICE, "candidates": 9}).says
    assert "as last time" not in studio.plan({**CHOICE, "painter": "sdxl"}).says


# --- prompts and LoRAs --------------------------------------------------------------------------------------------

PROMPTS = {
    "empty": "",
    "only spaces": " \t\n ",
    "100 000 characters": "a red ball beside a tree, " * 3847,
    "100 000 characters without a space": "x" * 100_000,
    "control characters": "a\x00 red\x07 ball\x1b[31m\u202e on\u200b a\ufeff box\x7f\u2028",
    "emoji": "🚀 beside 🌳 👩‍👩‍👧‍👦🏳️‍🌈 at 🌃",
    "right to left": "כדור אדום על קופסה, كرة حمراء",
    "html": "<script>alert(1)</script> {0} {} %s ../../etc",
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("request_", [CLIP, {**CHOICE, "style": "clay"}], ids=["clip", "keyframes"])
def test_any_prompt_ends_well(make, studio, prompt, request_):
    job = make(request_, prompt=prompt)
    assert all(Path(f).stat().st_size > 0 for f in job.files)
    assert pixels(job.files[1]).std() > 2, "something is to be seen"
    assert all(len(n) < 2000 for n in job.notices)
    assert studio.recipe(Path(job.files[0]))["request"]["prompt"] == job.request["prompt"]


def test_a_prompt_beyond_all_reason_is_refused_at_its_field(studio):
    with pytest.raises(BadInput, match="longer than the 200 000 characters") as caught:
        studio.check({**CLIP, "prompt": "x" * 200_001})
    assert caught.value.field == "prompt"
    with pytest.raises(BadInput, match="it takes text") as caught:
        studio.check({**CLIP, "prompt": "half a surrogate pair: \ud83d"})
    assert str(caught.value).encode()
    with pytest.raises(BadInput, match="prompt: it is missing"):
        studio.check({k: v for k, v in CLIP.items() if k != "prompt"})


def test_every_style_keeps_the_prompt_first_as_it_is():
    assert set(STYLES) == set(TextToVideo.model_json_schema()["properties"]["style"]["anyOf"][0]["enum"])
    for words in STYLES.values():
        assert words.format("{0} a cup {}").startswith("{0} a cup {}")

"""The tab with two models: which fields are shown, the pictures of a job, and one of them sent on to be animated."""

import threading
from itertools import product
from pathlib import Path

import gradio as gr
import pytest

from studio.errors import BadInput, NotInstalled
from studio.ui.page import build_page
from studio.ui.watch import stills

SMALL = {"mode": "text-to-video", "prompt": "a cup on a table", "width": 64, "height": 64, "seed": 4}
CHOICE = {**SMALL, "make": "keyframes", "candidates": 3}


@pytest.fixture
def page(studio, tmp_path):
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    return build_page(studio, uploads=uploads, stopping=threading.Event())


@pytest.fixture
def tab(page):
    return page.tabs["text-to-video"]


@pytest.fixture
def form(tab):
    return tab.form


@pytest.fixture
def shown(form):
    """The fields whose cells are visible after these switches were set."""

    def shown(**chosen):
        update = form.follow({**form.first(), **chosen})
        return {name for name, cell in form.cells.items() if update.get(cell, {}).get("visible", True)}

    return shown


def sent(form, **values):
    """What the browser would send."""
    raw = {**form.first(), **values}
    return [raw.get(name) for name in form.controls]


def at_first(form, **other):
    """The values of the switches, in their order."""
    return [{**form.first(), **other}[name] for name in form.switches]


def changed_to(form, name, **values):
    """The updates once that switch was changed and all stand so."""
    return form.follower(name)(*at_first(form, **values))


def test_the_model_that_paints_comes_before_the_one_that_moves(form):
    assert list(form.models) == ["painter", "variant", "refiner"]
    assert form.first() == {"painter": "toybox", "variant": "toybox", "refiner": "", "make": "clip"}
    assert set(form.switches) == set(form.first())
    names = list(form.controls)
    assert names.index("prompt") < names.index("painter") < names.index("variant")


def test_whatever_any_two_models_update_is_among_the_outputs(form):
    for painter, variant in product(form.variants["painter"], form.variants["variant"]):
        for changed in form.switches:
            update = changed_to(form, changed, painter=painter, variant=variant)
            assert [k for k in update if k not in form.outputs] == [], (painter, variant)
    for preset in ["", *form.presets]:
        assert [k for k in form.apply_preset(preset, *at_first(form)) if k not in form.outputs] == []
    assert [k for k in form.fill(CHOICE) if k not in form.outputs] == []


def test_each_role_shows_what_its_model_listens_to_and_no_more(shown):
    alone, camera = shown(painter="toybox", variant="toybox"), shown(painter="toybox", variant="parallax")
    svd = shown(painter="sdxl", variant="svd-xt")
    painting = {"negative_prompt", "style", "loras", "paint_steps", "paint_sampler", "paint_guidance"}
    assert not painting & (alone | camera)
    assert painting <= svd
    assert "camera_move" in alone & camera
    assert "camera_move" not in svd
    assert "motion_bucket" in svd - camera - alone
    assert {"candidates", "make", "pick"} <= alone & camera & svd


def test_a_painter_that_has_nothing_to_do_is_neither_described_nor_sent(form):
    first = form.first()
    assert form.follow(first)[form.abouts["painter"]]["visible"] is False
    assert form.follow({**first, "variant": "parallax"})[form.abouts["painter"]]["visible"] is True
    assert "painter" not in form.request(True, *sent(form, prompt="a cup"))
    assert form.request(True, *sent(form, prompt="a cup", variant="parallax"))["painter"] == "toybox"


def test_for_keyframes_alone_no_setting_is_sent_of_what_moves(form, studio):
    values = {"prompt": "a cup", "make": "keyframes", "variant": "parallax", "camera_move": "orbit", "frames": 9}
    wish = form.request(True, *sent(form, **values))
    assert not {"camera_move", "frames"} & set(wish)
    assert wish["variant"] == "parallax", "for later"
    assert studio.check(wish)[1] == []
    assert {"camera_move", "frames"} <= set(form.request(True, *sent(form, **{**values, "make": "clip"})))


def test_models_that_do_not_go_together_are_told_at_their_field_and_the_form_still_follows(form, studio):
    request = form.request(True, *sent(form, prompt="a cup", painter="sdxl"))
    with pytest.raises(BadInput) as caught:
        studio.check(request)
    complaint = form.complain(caught.value)
    assert "films its own scenes" in complaint[form.wrongs["variant"]]["value"]
    assert form.follow({**form.first(), "painter": "sdxl"})


def test_where_sdxl_is_missing_the_tab_says_what_to_get_how_large_and_which_command(form, studio):
    update = form.follow({**form.first(), "painter": "sdxl", "variant": "parallax"})
    about = update[form.abouts["painter"]]["value"]
    for part in ("6.9 GB", "Licence", "models pull sdxl"):
        assert part in about
    assert update[form.run] == "Not installed: what to do"
    wish = form.request(True, *sent(form, prompt="a cup", painter="sdxl", variant="parallax"))
    with pytest.raises(NotInstalled) as caught:
        studio.submit(wish)
    says, remedy = form.missing(caught.value, wish)
    assert says == "SDXL is not installed."
    assert "models pull sdxl" in remedy


def test_a_prompt_that_is_missing_is_asked_for_but_a_plan_needs_none(form, studio):
    with pytest.raises(BadInput, match="say what is to be seen") as caught:
        form.request(True, *sent(form))
    assert caught.value.field == "prompt"
    assert studio.plan(form.request(True, *sent(form), complete=False)).says


def test_for_keyframes_alone_what_moves_is_hidden_and_comes_back_with_the_clip(shown):
    svd = {"painter": "sdxl", "variant": "svd-xt"}
    keyframes, clip = shown(**svd, make="keyframes"), shown(**svd, make="clip")
    assert {"motion_bucket", "frames", "export_fps"} <= clip - keyframes
    assert {"paint_steps", "width", "candidates", "make"} <= keyframes & clip
    assert "camera_move" not in shown(make="keyframes")


def test_choosing_keyframes_sends_the_zip_that_the_command_line_makes_and_leaves_other_settings_alone(form, studio):
    update = changed_to(form, "make", make="keyframes")
    assert update[form.controls["format"]]["value"] == "zip"
    assert changed_to(form, "make", make="clip")[form.controls["format"]]["value"] == "mp4"
    untouched = {"seed", "candidates", "frames", "camera_move", "paint_steps", "width", "finish"}
    assert not {form.controls[name] for name in untouched} & set(update)
    assert form.controls["format"] not in changed_to(form, "variant", variant="parallax", make="keyframes")
    preset = form.apply_preset("keyframes-to-choose", *at_first(form))
    assert preset[form.controls["format"]]["value"] == "zip"
    wish = form.request(True, *sent(form, prompt="a cup", make="keyframes", format="zip"))
    assert studio.check(wish)[0].format == studio.check(CHOICE)[0].format == "zip"


def test_another_model_takes_its_own_defaults_and_leaves_those_of_the_others_alone(form):
    models = {"painter": "sdxl", "variant": "parallax"}
    by_variant, by_painter = (changed_to(form, name, **models) for name in ("variant", "painter"))
    assert form.controls["camera_move"] in by_variant
    assert form.controls["camera_move"] not in by_painter
    assert form.controls["paint_steps"] in by_painter
    assert form.controls["paint_steps"] not in by_variant


def test_a_refiner_is_offered_where_the_painter_can_be_gone_on_from_and_is_none_until_it_is_chosen(form, shown, studio):
    assert [choice for _, choice in form.variant_choices("refiner")] == ["", "sdxl-refiner"]
    dropdown, wide = form.models["refiner"], {"painter": "sdxl", "variant": "parallax"}
    assert form.follow(form.first())[dropdown]["visible"] is False
    plain = form.follow({**form.first(), **wide})[dropdown]
    assert (plain["visible"], plain["value"]) == (True, "")
    with_it = {**form.first(), **wide, "refiner": "sdxl-refiner"}
    assert form.follow(with_it)[dropdown]["value"] == "sdxl-refiner"
    assert form.follow({**with_it, "painter": "toybox"})[dropdown]["value"] == "", "it has nothing to go on with"
    assert "refine_from" in shown(**wide, refiner="sdxl-refiner") - shown(**wide)
    assert not {"refiner", "refine_from"} & set(form.request(True, *sent(form, prompt="a cup", **wide)))
    refined = form.request(True, *sent(form, prompt="a cup", **wide, refiner="sdxl-refiner", refine_from=0.7))
    complete, notices = studio.check(refined)
    assert (complete.refiner, complete.refine_from, notices) == ("sdxl-refiner", 0.7, [])


def test_a_preset_names_both_models_and_the_form_shows_them(form):
    update = form.apply_preset("sdxl-then-svd", *at_first(form))
    assert (update[form.models["painter"]], update[form.models["variant"]]) == ("sdxl", "svd-xt")
    assert update[form.controls["style"]]["value"] == "cinematic"
    assert update[form.cells["motion_bucket"]]["visible"] is True


def test_a_job_with_pictures_shows_them_and_one_without_hides_them(tab, studio, small):
    panel = tab.panel
    job = studio.wait(studio.submit(CHOICE).id)
    update = panel.show(job)
    assert [path for path, _ in update[panel.stills]["value"]] == [str(f) for f in job.files[1:]]
    assert [caption for _, caption in update[panel.stills]["value"]] == ["1 of 3", "2 of 3", "3 of 3"]
    assert update[panel.stills]["visible"] is True
    assert update[panel.animate]["visible"] is True
    assert [k for k in update if k not in panel.outputs] == []
    other = panel.show(studio.wait(studio.submit(small).id))
    assert other[panel.stills]["visible"] is False
    assert other[panel.animate]["visible"] is False


def test_pictures_that_were_deleted_are_not_shown(tab, studio):
    job = studio.wait(studio.submit(CHOICE).id)
    Path(job.files[2]).unlink()
    assert [str(p) for p in stills(job)] == [job.files[1], job.files[3]]
    for file in job.files[1:]:
        Path(file).unlink(missing_ok=True)
    assert tab.panel.show(job)[tab.panel.animate]["visible"] is False


@pytest.fixture
def handler(page, tab):
    """A handler that the tab's own panel is given, by name."""

    def handler(name):
        named = [f for f in page.blocks.fns.values() if getattr(f.fn, "__name__", "") == name]
        ours = [f for f in named if {tab.panel.chosen, tab.panel.status} & {*f.inputs, *f.outputs}]
        assert len(ours) == 1
        return ours[0]

    return handler


def test_the_chosen_picture_is_put_into_the_other_tabs_form_and_can_be_animated(page, tab, studio, handler):
    send, job = handler("send"), studio.wait(studio.submit(CHOICE).id)
    other = page.tabs["image-to-video"].form
    for chosen in (0, 2):
        update = send.fn(job.id, chosen)
        assert [k for k in update if k not in send.outputs] == []
        assert update[other.controls["image"]] == job.files[1 + chosen]
        (tabs,) = [k for k in update if isinstance(k, gr.Tabs)]
        assert update[tabs]["selected"] == "image-to-video"
    raw = {**other.first(), "image": {"path": job.files[3]}, "width": 64, "height": 64, "frames": 2}
    wish = other.request(True, *[raw.get(name) for name in other.controls])
    assert studio.wait(studio.submit(wish).id).state == "done"


def test_a_picture_beyond_the_last_is_the_last_and_one_that_is_gone_is_told(tab, studio, handler, page):
    send, job = handler("send"), studio.wait(studio.submit(CHOICE).id)
    other = page.tabs["image-to-video"].form
    assert send.fn(job.id, 7)[other.controls["image"]] == job.files[3]
    for file in job.files[1:]:
        Path(file).unlink()
    for wanted in (job.id, "no-such-job", ""):
        assert "not there any more" in send.fn(wanted, 0)[tab.panel.status]


def test_the_settings_of_a_job_come_back_into_the_form_with_both_models(form, studio):
    complete, _ = studio.check({**SMALL, "variant": "parallax", "candidates": 4, "pick": 2, "camera_move": "orbit"})
    update = form.fill(complete.model_dump(mode="json"))
    assert update[form.controls["prompt"]]["value"] == SMALL["prompt"]
    assert (update[form.models["painter"]], update[form.models["variant"]]) == ("toybox", "parallax")
    assert update[form.controls["candidates"]]["value"] == 4
    assert update[form.controls["camera_move"]]["value"] == "orbit"
    filmed, _ = studio.check(SMALL)
    assert form.fill(filmed.model_dump(mode="json"))[form.models["painter"]] == "toybox"


def test_an_example_is_a_prompt_and_fills_the_form(tab, form):
    prompts = [sample[0] for sample in tab.examples.row.samples]
    assert "雪人 和 两棵 树 在 夜晚" in prompts
    assert next(e.kind for e in form.entries) == "prompt"

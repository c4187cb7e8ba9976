"""The tab of interpolate: what the form shows for what is made, and the clip before beside the clip after."""

import threading

import gradio as gr
import pytest

from studio.modes import all_modes
from studio.ui.mode_tab import ModeTab
from studio.ui.switches import conditions

FILES = {"smooth": {"clip"}, "between": {"start", "end"}, "loop": {"clip", "start"}, "continue": {"clip"}}


@pytest.fixture
def tab(studio, tmp_path):
    with gr.Blocks():
        return ModeTab(studio, all_modes()["interpolate"], tmp_path, threading.Event())


@pytest.fixture
def form(tab):
    return tab.form


def visible(form, **chosen):
    """The fields that come and go whose cells are visible where the switches stand so."""
    updates = form.follow({**form.first(), **chosen})
    return {name for name, cell in form.cells.items() if updates.get(cell, {}).get("visible", True)}


def changed(form, name, **values):
    """The updates once that switch was changed and all stand so."""
    chosen = {**form.first(), **values}
    return form.follower(name)(*(chosen[n] for n in form.switches))


def drawn(form):
    return {name for name, cell in form.cells.items() if cell.visible}


def test_only_the_files_that_are_taken_can_be_given(form):
    assert {make: visible(form, make=make) & {"clip", "start", "end"} for make in FILES} == FILES


def test_what_is_drawn_is_what_the_first_choice_takes(form):
    assert drawn(form) & {"clip", "start", "end"} == {"clip"}
    assert drawn(form) == visible(form)


def test_fields_that_have_no_meaning_for_what_is_made_are_not_there(form):
    assert {"factor", "slow_motion", "cut_guard"} <= visible(form)
    assert not {"factor", "slow_motion", "cut_guard", "sound"} & visible(form, make="between")
    assert "frames" in visible(form, make="loop")
    assert "frames" not in visible(form)
    assert {"overlap", "windows"} <= visible(form, make="continue", variant="svd")
    assert not {"overlap", "windows"} & visible(form, make="between", variant="svd")


def test_every_condition_names_fields_and_values_that_there_are():
    for mode in all_modes().values():
        properties = mode.request.model_json_schema()["properties"]
        for field, when in conditions(mode.request).items():
            for name, values in when.items():
                assert set(values) <= set(properties[name]["enum"]), (mode.id, field)


def test_a_file_of_another_choice_that_was_left_is_not_sent(form, tmp_path):
    raw = dict.fromkeys(form.controls)
    raw |= {**form.first(), "make": "between", "clip": {"path": "/etc/passwd"}, "slow_motion": 4.0}
    sent = form.request(True, *raw.values(), complete=False)
    assert sent["make"] == "between"
    assert not {"clip", "slow_motion"} & sent.keys()


def test_what_is_made_takes_a_model_with_it_that_can(form):
    model = form.models["variant"]
    assert model not in changed(form, "make", make="between", variant="flow")
    to_svd = changed(form, "make", make="continue", variant="flow")
    assert to_svd[model] == "svd"
    assert to_svd[form.cells["overlap"]]["visible"]
    assert changed(form, "make", make="smooth", variant="svd")[model] == "flow"
    assert changed(form, "clip", make="loop", variant="svd", clip="a.mp4")[model] == "flow"
    assert changed(form, "start", make="loop", variant="flow", start="a.png")[model] == "svd"


def test_a_model_that_a_person_chose_stays_although_it_can_not(form):
    assert form.models["variant"] not in changed(form, "variant", make="smooth", variant="svd")


def test_a_preset_keeps_the_model_that_was_chosen_where_that_can_make_it(form):
    values = [{**form.first(), "variant": "rife"}[n] for n in form.switches]
    assert form.apply_preset("slow-motion", *values)[form.models["variant"]] == "rife"
    values = [{**form.first(), "make": "continue", "variant": "svd"}[n] for n in form.switches]
    assert form.apply_preset("slow-motion", *values)[form.models["variant"]] == "flow"


def test_a_clip_is_shown_before_and_after_with_what_was_found(studio, tab, tmp_path):
    example = next(r for name, r in studio.examples("interpolate").items() if "smooth" in name)
    job = studio.wait(studio.submit(example).id)
    assert job.state == "done", job.error
    shown = tab.more.show(job)
    pair, found = shown[tab.more.pair], shown[tab.more.found]
    assert pair["visible"]
    assert pair["value"].count("<video") == 2
    assert "20 frames at 8 fps" in found["value"]
    assert shown.keys() <= set(tab.more.outputs)


def test_all_that_follows_a_switch_is_among_the_outputs(form):
    for make in FILES:
        for variant in form.variants["variant"]:
            followed = changed(form, "make", make=make, variant=variant)
            assert set(followed) <= set(form.outputs)
            assert all(isinstance(c, gr.blocks.Block) for c in followed)


def test_numbers_in_lines_that_may_be_empty_are_read_as_numbers(form):
    raw = dict.fromkeys(form.controls) | form.first()
    sent = form.request(True, *{**raw, "export_fps": " 23.976 ", "factor": "4"}.values(), complete=False)
    assert (sent["export_fps"], sent["factor"]) == (23.976, 4)
    sent = form.request(True, *{**raw, "export_fps": "many", "factor": ""}.values(), complete=False)
    assert sent["export_fps"] == "many"
    assert "factor" not in sent

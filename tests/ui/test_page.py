"""The page as Blocks, without a server: what its handlers return belongs to where they send it."""

import threading

import gradio as gr
import pytest

from studio.errors import BadInput
from studio.modes import all_modes
from studio.service import Studio
from studio.ui.history import HistoryTab, cards
from studio.ui.mode_form import ModeForm
from studio.ui.mode_tab import ModeTab
from studio.ui.models_tab import ModelsTab, table
from studio.ui.page import build_page
from tests.until import until


@pytest.fixture
def parts(studio, tmp_path):
    """The page's own objects by class."""
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    page = build_page(studio, uploads=uploads, stopping=threading.Event())
    tab = page.tabs["image-to-video"]
    drawn = (tab, tab.form, page.history, page.models)
    text = page.tabs["text-to-video"]
    return {**{type(part): part for part in drawn}, gr.Blocks: page.blocks, "uploads": uploads, "text": text}


def test_whatever_the_form_updates_is_among_its_outputs(parts, studio):
    form = parts[ModeForm]
    request = {"variant": "svd-xt", "seed": 3, "frames": 14, "fit": "pad", "finish": ["loop"]}
    updates = [form.follower("variant")(v) for v in form.variants["variant"]]
    updates += [form.apply_preset(p, "parallax") for p in ["", *form.presets]]
    updates += [form.complain(BadInput("x", field=e.name)) for e in form.entries]
    updates += [form.fill(request), form.content()]
    assert form.presets
    assert [k for u in updates for k in u if k not in form.outputs] == []


def test_a_variant_shows_the_fields_it_listens_to_with_its_own_defaults(parts):
    form = parts[ModeForm]
    shown = form.follower("variant")("svd-xt")
    assert shown[form.cells["motion_bucket"]]["visible"] is True
    assert shown[form.cells["camera_move"]]["visible"] is False
    assert shown[form.controls["frames"]]["maximum"] == 25
    assert form.fill({"variant": "parallax", "frames": 9})[form.controls["frames"]]["value"] == 9


def test_a_speed_moves_what_the_variant_sets_at_it_and_another_one_moves_it_back(parts):
    form = parts[ModeForm]
    exact = {"steps": 30, "width": 1024, "height": 576, "sampler": "euler", "guidance_min": 1.5, "guidance_max": 3.0}

    def at(speed):
        moved = form.hurry(speed, "svd-xt")
        return {name: moved[form.controls[name]]["value"] for name in exact}

    assert at("draft") == {**exact, "steps": 8, "width": 512, "height": 320}
    assert at("fast") == at("exact") == exact
    assert [k for k in form.hurry("draft", "svd-xt") if k not in form.outputs] == []
    assert form.hurry("draft", "parallax") == {}
    spoken = form.follow({"variant": "svd-xt"}, {"speed": "draft", "steps": 9})
    assert spoken[form.controls["steps"]]["value"] == 9
    assert spoken[form.controls["width"]]["value"] == 512


def test_the_requests_fields_come_from_the_controls_and_hidden_ones_are_left_out(parts, photo, studio):
    form = parts[ModeForm]
    kept = parts["uploads"] / "a.png"
    kept.write_bytes(photo.read_bytes())
    raw = {"image": {"path": str(kept)}, "variant": "parallax", "frames": 5, "steps": 30, "finish": "loop\n", "seed": 4}
    sent = [raw.get(name) for name in form.controls]
    assert form.request(False, *sent) == {
        "mode": "image-to-video",
        "variant": "parallax",
        "image": str(kept),
        "frames": 5,
        "finish": ("loop",),
        "seed": 4,
    }
    assert "seed" not in form.request(True, *sent)
    assert studio.check(form.request(False, *sent))[0].frames == 5


def test_a_picture_that_was_not_chosen_is_asked_for_but_a_plan_needs_none(parts, studio):
    form = parts[ModeForm]
    sent = ["parallax" if name == "variant" else None for name in form.controls]
    with pytest.raises(BadInput, match="choose a picture first") as e:
        form.request(True, *sent)
    assert e.value.field == "image"
    assert studio.plan(form.request(True, *sent, complete=False)).says


def test_a_message_names_the_label_and_a_folded_field_is_unfolded(parts):
    form = parts[ModeForm]
    error = BadInput("export_fps: 99 is more than it takes.", field="export_fps")
    assert form.in_labels(error) == "Export fps: 99 is more than it takes."
    shown = form.complain(error)
    assert "99 is more" in shown[form.wrongs["export_fps"]]["value"]
    assert shown[form.advanced]["open"] is True
    assert form.advanced not in form.complain(BadInput("x", field="image"))


def test_the_panel_follows_a_job_to_its_end_and_only_the_newest_watcher_goes_on(parts, studio, small):
    import asyncio

    panel = parts[ModeTab].panel

    async def watch():
        job = studio.submit(small)
        first, second = panel.attach(job.id, "tab"), panel.attach(job.id, "tab")
        await anext(first)
        updates = [u async for u in second]
        return [u async for u in first], updates

    late, updates = asyncio.run(watch())
    assert late == []
    assert "Done in" in updates[-1][panel.status]
    assert updates[-1][panel.video]["value"].endswith(".mp4")
    assert updates[-1][panel.cancel]["interactive"] is False
    assert [k for u in updates for k in u if k not in panel.outputs] == []


def test_a_new_page_finds_the_browsers_last_job_else_the_one_that_runs(parts, studio, small):
    tab = parts[ModeTab]
    job = studio.submit(small)
    assert tab._arrive("")[tab.wanted] == job.id
    studio.wait(job.id)
    assert tab._arrive("")[tab.wanted] == ""
    assert tab._arrive(job.id)[tab.wanted] == job.id
    assert tab._arrive("gone")[tab.wanted] == ""


def test_the_last_seed_is_put_into_the_form_and_no_longer_random(parts, studio, small):
    tab = parts[ModeTab]
    assert tab._reuse(studio.submit(small).id) == (small["seed"], False)


def test_the_history_pages_back_and_forth_and_forgets_what_is_deleted(parts, studio, small, monkeypatch):
    from studio.ui import history as module

    monkeypatch.setattr(module, "PAGE", 2)
    history = parts[HistoryTab]
    jobs = [studio.wait(studio.submit({**small, "seed": i}).id) for i in range(3)]
    first = history._page([])
    assert jobs[2].id in first[history.cards]
    assert jobs[0].id not in first[history.cards]
    second = history._turn_older([])
    assert jobs[0].id in second[history.cards]
    assert second[history.older]["interactive"] is False
    assert second[history.newer]["interactive"] is True
    assert [k for k in history._show(jobs[0]) if k not in history._one] == []
    gone = history._delete(jobs[2].id, [])
    assert jobs[2].id not in gone[history.cards]
    again = history._rerun(jobs[0].id)
    assert again[history.tabs["image-to-video"].wanted] != jobs[0].id


def test_a_failed_job_is_a_card_with_its_state_and_text_is_escaped(studio, small):
    job = studio.wait(studio.submit(small).id)
    bad = job.model_copy(update={"state": "interrupted", "request": {"variant": "<b>x", "seed": 1}, "poster": None})
    html = cards([bad])
    assert "Interrupted" in html
    assert "<b>" not in html


def test_the_models_are_listed_with_licence_size_and_command(parts, studio):
    html = table(studio.variants())
    for part in ("Embedded", "Not installed", "models pull svd-xt", "GB", "Licence"):
        assert part in html
    tab = parts[ModelsTab]
    shown = tab._open(None)
    assert shown[tab.pull]["interactive"] is True
    assert shown[tab.remove]["interactive"] is False


def test_the_models_tab_shows_what_is_in_memory_and_drops_what_is_idle(parts, studio, small, tiny_svd):
    tab = parts[ModelsTab]
    assert "No weights are in memory" in tab._open(None)[tab.ledger]
    request = {k: small[k] for k in ("mode", "image", "seed")} | {"variant": tiny_svd}
    with Studio(studio.settings) as studio:  # the variant's yaml came after the first one was opened
        assert studio.wait(studio.submit(request).id).state == "done"
        until(lambda: '<th scope="row">unet</th>' in tab._open(None)[tab.ledger])
        assert "are free again" in tab._unload(None)[tab.says]
        assert '<th scope="row">' not in tab._open(None)[tab.ledger]
        assert "Nothing idle" in tab._unload(None)[tab.says]


def test_only_endpoints_are_public_and_no_event_holds_up_another(parts):
    demo = parts[gr.Blocks]
    public = {fn.api_name for fn in demo.fns.values() if fn.api_visibility == "public"}
    assert public == {"job", "cancel", *(mode.replace("-", "_") for mode in all_modes())}
    assert demo._queue.default_concurrency_limit is None

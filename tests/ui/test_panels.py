"""Multiview's tab beyond form and clip: the plot, the orbit of a job, and its views put back into the form."""

import json
import threading
import zipfile
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image, ImageDraw

from studio.scene.orbit import sine
from studio.ui.page import build_page
from studio.ui.panels.multiview import scored, turntable
from studio.ui.panels.orbit_plot import orbit_figure


@pytest.fixture
def tab(studio, tmp_path):
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    return build_page(studio, uploads=uploads, stopping=threading.Event()).tabs["multiview"]


@pytest.fixture
def job(studio, tmp_path):
    """An orbit of eight views, done."""
    picture = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((30, 10, 70, 90), fill=(220, 60, 50, 255))
    picture.save(tmp_path / "cup.png")
    wish = {
        "mode": "multiview",
        "image": str(tmp_path / "cup.png"),
        "size": 128,
        "frames": 8,
        "mesh_grid": 32,
        "seed": 3,
    }
    job = studio.wait(studio.submit(wish).id)
    assert job.state == "done", job.error
    return job


def sent(form, **values):
    """What the browser would send."""
    raw = {**form.first(), **values}
    return [raw.get(name) for name in form.controls]


def test_no_two_things_on_the_page_have_the_same_id(studio, tmp_path):
    page = build_page(studio, uploads=tmp_path, stopping=threading.Event())
    ids = [block.elem_id for block in page.blocks.blocks.values() if getattr(block, "elem_id", None)]
    assert sorted(ids) == sorted(set(ids))


def test_an_orbit_is_shown_with_turntable_mesh_scores_and_files_and_hidden_again(tab, job, studio):
    panel, folder = tab.more, Path(job.files[0]).parent
    shown = panel.show(job)
    assert set(shown) == set(panel.hide()) == set(panel.outputs)
    assert shown[panel.scrub]["value"].count("<img") == 8
    assert shown[panel.scrub]["value"].count(" hidden>") == 7, "one view shows"
    assert 'aria-valuemax="7"' in shown[panel.scrub]["value"]
    assert shown[panel.solid] == str(folder / "mesh.glb")
    assert panel._show_mesh(shown[panel.solid]) == gr.update(value=str(folder / "mesh.glb"), visible=True)
    assert shown[panel.views]["value"].count("data-view=") == 8
    whole = Path(shown[panel.files]["value"][0])
    with zipfile.ZipFile(whole) as archive:
        assert {str(folder / name) for name in archive.namelist()} == set(job.files)
    hidden = panel.hide()
    assert panel._show_mesh(hidden[panel.solid])["value"] is None
    assert not any(hidden[part]["visible"] for part in (panel.scrub, panel.views, panel.replace, panel.files))
    alone = studio.wait(studio.submit({**job.request, "make": "cut-out", "format": "webp"}).id)
    assert panel.show(alone) == hidden, "a cut-out alone has no orbit"
    (folder / "report.json").unlink()
    assert panel.show(job) == hidden


def test_a_views_colour_says_how_well_it_agrees_and_its_words_say_it_too(tmp_path):
    views = [{"image": f"images/{i}.png", "azimuth_deg": 90.0 * i, "score": score}
             for i, score in enumerate((1.0, 0.95, 0.5))]  # fmt: skip
    report = {"views": views, "consistency": {"mean": 0.82, "worst_frame": 2, "split_half": 0.9}}
    html = scored(tmp_path, report)
    for grade, words in (("good", "View at 0°, agreement 1.00"), ("fair", "View at 90°, agreement 0.95"),
                         ("bad", "View at 180°, agreement 0.50")):  # fmt: skip
        assert html.count(f'class="view {grade}"') == 1
        assert html.index(f'class="view {grade}"') < html.index(words)
    assert "worst at 180°" in html
    assert turntable(tmp_path, report).count("<img") == 3


def test_the_views_go_back_into_the_form_with_the_azimuth_of_the_one_to_replace(tab, job, studio):
    panel, form = tab.more, tab.form
    assert list(panel._replace(job.id, "")) == [panel.status]
    assert list(panel._replace("no-such-job", "3")) == [panel.status]
    update = panel._replace(job.id, "3")
    assert [k for k in update if k not in [panel.status, *form.outputs]] == []
    assert "135°" in update[panel.status]
    views = update[form.controls["views"]]
    views = Path(views["value"] if isinstance(views, dict) else views)
    with zipfile.ZipFile(views) as archive:
        assert archive.namelist() == [f"{i:03d}.png" for i in range(8)]
    again = studio.wait(studio.submit({**job.request, "views": str(views), "photo": job.request["image"],
                                       "photo_azimuth_deg": 135.0}).id)  # fmt: skip
    assert again.state == "done", again.error
    assert "The view at 135 degrees is your photo." in again.notices
    report = json.loads((Path(again.files[0]).parent / "report.json").read_text(encoding="utf-8"))
    assert report["mesh"]["rendered"] is False


def test_the_plot_shows_the_orbit_that_the_form_asks_for_or_why_it_cannot_be(tab):
    panel, form = tab.more, tab.form
    figure, says = panel._plan(True, *sent(form, orbit="sine", amplitude_deg=20, frames=12))
    curve = figure.data[-1]
    assert len(curve.x) == 13
    assert list(curve.y) == pytest.approx([0.0, *sine(0, 20, 12).elevations_deg], abs=1e-9)
    assert says == ""
    _, says = panel._plan(True, *sent(form, orbit="sine", amplitude_deg=40))
    assert "30" in says
    skipped, says = panel._plan(True, *sent(form, orbit="sine", elevation_deg=70, amplitude_deg=60))
    assert "amplitude_deg" in says
    assert skipped == gr.skip(), "the last plot stays"


def test_the_plots_first_point_is_the_input_view_in_its_own_colour():
    above, over = orbit_figure(sine(10, 20, 8)).data
    assert above.theta[0] == over.x[0] == 0
    assert over.x[-1] == 360
    assert over.y[0] == over.y[-1] == pytest.approx(10)
    colours = list(above.marker.color)
    assert colours.count(colours[0]) == 1

"""The multiview tab's story in a real browser: an example is turned, dragged, looked at and mended."""

import re

import pytest

from tests.browser import conftest
from tests.browser.test_page import open_tab, wait_for_status
from tests.browser.test_page import pytestmark as pytestmark

STATUS = "#multiview-status"
TABLE = "#multiview-scrub .turntable"
MESH = "#multiview-mesh canvas"
PLOTTED = "() => document.querySelector('#multiview-plot .js-plotly-plot')?._fullData?.at(-1)?.y"
"""Elevations in the plot, those of the input view first and last."""

SHOWN = "() => [...document.querySelectorAll('.turntable img')].findIndex(view => view.offsetParent)"
SOFTWARE = "WebGPU"
"""In what the viewer of meshes says where there is no GPU, before it takes WebGL."""


@pytest.fixture(scope="module", autouse=True)
def drawn_without_a_gpu():
    """WebGL in software, for the viewer of meshes."""
    given = list(conftest.FLAGS)
    conftest.FLAGS += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    yield
    conftest.FLAGS[:] = given


@pytest.fixture
def tab(visit):
    """The page with an example in the multiview tab's form, to be made small."""

    opened = []

    def tab(*args, **context):
        v = visit(*args, **context)
        opened.append(v)
        open_tab(v.page, "Multiview")
        v.page.click("#multiview-examples button[aria-label='Example: robot']")
        v.page.wait_for_selector("#multiview-image img", state="visible")
        v.page.click("#multiview-advanced > button")
        v.page.wait_for_selector("#multiview-size input", state="visible")
        for name, value in (("size", 128), ("frames", 12), ("mesh_grid", 32)):
            put(v.page, name, value)
        return v

    yield tab
    for v in opened:
        v.errors[:] = [e for e in v.errors if SOFTWARE not in e]


def put(page, name, value):
    page.fill(f"#multiview-{name} input[type=number]", str(value))
    page.press(f"#multiview-{name} input[type=number]", "Tab")


def now(page):
    """The view that the turntable shows; it is also the one that it says it shows."""
    said = int(page.get_attribute(TABLE, "aria-valuenow"))
    assert page.evaluate(SHOWN) == said
    return said


def test_an_example_is_turned_dragged_and_looked_at_and_a_photo_takes_the_place_of_a_view(tab):
    v = tab("?__theme=dark")
    page = v.page
    page.click("#multiview-run")
    wait_for_status(page, "^Done in", 60, status=STATUS)
    page.wait_for_selector(TABLE)
    assert now(page) == 0
    page.locator(TABLE).scroll_into_view_if_needed()
    box = page.locator(TABLE).bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60, steps=4)
    page.mouse.up()
    assert now(page) == 3, "a quarter of its width is a quarter round"
    page.mouse.move(box["x"] + 20, box["y"] + 60)
    assert now(page) == 3, "it was let go"
    page.focus(TABLE)
    page.keyboard.press("ArrowRight")
    assert now(page) == 4
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert now(page) == 11, "round it goes"
    page.wait_for_selector(MESH)
    listed = page.inner_text("#multiview-files").replace("\n", "")
    for name in (".zip", "mesh.glb", "mesh.obj", "mesh.ply", "mesh.stl", "transforms.json", "sheet.png"):
        assert name in listed
    v.shot("dark-orbit")

    buttons = page.locator("#multiview-scores .view")
    assert buttons.count() == 12
    label = buttons.nth(3).get_attribute("aria-label")
    assert re.fullmatch(r"View at 90°, agreement (1\.00|0\.\d\d)", label)
    page.click("#multiview-replace")
    wait_for_status(page, "Choose a view first", 10, status=STATUS)
    buttons.nth(3).click()
    assert [buttons.nth(i).get_attribute("aria-pressed") for i in (2, 3)] == ["false", "true"]
    page.click("#multiview-replace")
    page.wait_for_function("() => document.querySelector('#multiview-views').textContent.includes('views')")
    assert page.input_value("#multiview-photo_azimuth_deg input[type=number]") == "90"
    wait_for_status(page, "The views are in the form, the one at 90° to be replaced", 10, status=STATUS)

    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    v.shot("dark-390-orbit")
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390


@pytest.mark.slow
def test_the_plot_follows_the_form_and_says_what_is_too_steep_and_the_cut_out_is_shown_all_the_same(tab):
    v = tab()
    page = v.page
    page.wait_for_function(f"({PLOTTED})()?.length === 13")
    before = page.evaluate(PLOTTED)
    assert max(before) == pytest.approx(13, abs=3)
    put(page, "amplitude_deg", 40)
    page.wait_for_function(f"Math.max(...({PLOTTED})()) > 33")
    page.wait_for_selector("#multiview-plot-says >> text=30")
    assert page.evaluate(PLOTTED)[0] == pytest.approx(0, abs=1e-6), "the input view stays where it is"
    put(page, "elevation_deg", 70)
    page.wait_for_selector("#multiview-plot-says >> text=amplitude")
    v.shot("light-too-steep")

    page.click("#multiview-cut")
    wait_for_status(page, "^Done in", 60, status=STATUS)
    page.wait_for_selector("#multiview-still img", state="visible")
    v.shot("light-cut-out")
    assert page.is_visible("#multiview-stills")
    assert page.locator(TABLE).count() == 0
    assert not page.is_visible("#multiview-mesh")

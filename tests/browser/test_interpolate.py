"""Interpolate's tab in a real browser: a clip made smoother, before beside after; the form follows what is made."""

from pathlib import Path

import pytest

from tests.browser.test_page import open_tab, wait_for_status

CLIP = Path(__file__).resolve().parents[2] / "examples" / "clips" / "toy-robot.mp4"
STATUS = "#interpolate-status"
PAIR = "#interpolate-pair video"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def upload(page, name, file):
    """Gives the file to the field once its box is there."""
    page.wait_for_selector(f"#interpolate-{name} input[type=file]", state="attached")
    page.set_input_files(f"#interpolate-{name} input[type=file]", file)


def make(page, choice):
    page.click("#interpolate-make input")
    page.click(f"[role=option]:has-text('{choice}')")


def test_a_clip_is_made_smoother_and_both_play_in_step(visit, tmp_path):
    v = visit()
    page = v.page
    open_tab(page, "Interpolate")
    page.click("#interpolate-run")
    wait_for_status(page, "Clip: it is missing", status=STATUS)
    (tmp_path / "words.mp4").write_text("no clip at all\n" * 20)
    upload(page, "clip", tmp_path / "words.mp4")
    page.wait_for_selector("#interpolate-clip :text('words')")
    page.click("#interpolate-run")
    wait_for_status(page, "not a clip", status=STATUS)
    page.click("#interpolate-clip button[aria-label='Clear']")
    upload(page, "clip", CLIP)
    page.wait_for_selector("#interpolate-clip :text('toy-robot')")
    page.fill("#interpolate-export_fps input, #interpolate-export_fps textarea", "23.976")
    page.click("#interpolate-run")
    wait_for_status(page, "Done in", seconds=60, status=STATUS)
    page.wait_for_function(f"() => document.querySelectorAll('{PAIR}').length === 2")
    assert "20 frames at 8 fps -> 60 frames at 23.976 fps" in page.inner_text("#interpolate-found")
    page.wait_for_function(f"() => [...document.querySelectorAll('{PAIR}')].every(v => v.readyState >= 3)")
    page.evaluate(f"() => document.querySelector('{PAIR}').play()")
    page.wait_for_function(f"() => [...document.querySelectorAll('{PAIR}')].every(v => v.currentTime > 0.3)")
    page.evaluate(f"() => document.querySelectorAll('{PAIR}')[1].pause()")
    page.wait_for_function(f"() => document.querySelector('{PAIR}').paused")
    apart = page.evaluate(
        f"() => {{const [a, b] = document.querySelectorAll('{PAIR}'); return Math.abs(a.currentTime - b.currentTime)}}"
    )
    assert apart < 0.2
    v.shot("interpolate")


@pytest.mark.slow
def test_the_form_shows_the_files_that_are_taken_on_a_small_screen_too(visit):
    page = visit(viewport={"width": 390, "height": 844}).page
    open_tab(page, "Interpolate")
    page.wait_for_selector("#interpolate-clip")
    assert page.locator("#interpolate-start").count() == 0 or not page.is_visible("#interpolate-start")
    make(page, "Between")
    page.wait_for_selector("#interpolate-end")
    page.wait_for_selector("#interpolate-clip", state="hidden")
    make(page, "Continue")
    page.wait_for_selector("#interpolate-clip")
    page.wait_for_function("() => document.querySelector('#interpolate-variant input').value.startsWith('SVD')")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390

"""The story of a user, in a real browser."""

import hashlib
import re
import signal
import time
from pathlib import Path

import pytest

PHOTO = Path(__file__).resolve().parents[2] / "examples" / "pictures" / "mountain-path.jpg"

pytestmark = [
    pytest.mark.browser,
    # Playwright's own loop and pipes end with the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

STATUS = "#image-to-video-status"
VIDEO = "#image-to-video-video video"
NOTE_EVERY_STATUS = """(status) => {
  window.seen = []
  const note = () => seen.push(document.querySelector(status).innerText)
  new MutationObserver(note).observe(document.body, {subtree: true, childList: true, characterData: true})
}"""


def upload(page):
    page.set_input_files("#image-to-video-image input[type=file]", str(PHOTO))
    page.wait_for_selector("#image-to-video-image img")


def set_size(page, *, width=256, height=144, frames=8):
    if page.query_selector("#image-to-video-width input") is None:
        page.click("#image-to-video-advanced > button")
        page.wait_for_selector("#image-to-video-width input")
    for name, value in (("width", width), ("height", height), ("frames", frames)):
        page.fill(f"#image-to-video-{name} input[type=number]", str(value))
        page.press(f"#image-to-video-{name} input[type=number]", "Tab")


def open_tab(page, name):
    """Clicks the tab, which on a small screen may be in the menu of those that have no room."""
    tab = page.get_by_role("tab", name=name)
    if not tab.is_visible():
        page.click("#tabs .overflow-menu > button")
        tab = page.locator("#tabs .overflow-dropdown button", has_text=name)
    tab.click()


def run(page):
    page.click("#image-to-video-run")


def wait_for_status(page, pattern, seconds=30, status=STATUS):
    """Waits until the status matches; returns every text that it had on the way."""
    seen, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        text = page.inner_text(status).replace("\n", " ")
        if text not in seen:
            seen.append(text)
        if re.search(pattern, text):
            return seen
        time.sleep(0.05)
    raise AssertionError(f"{pattern!r} never came: {seen}")


def plays(page):
    """The video's time after it has run for a moment."""
    page.wait_for_selector(VIDEO)
    page.wait_for_function(f"() => document.querySelector('{VIDEO}').readyState >= 1")
    page.evaluate(f"() => document.querySelector('{VIDEO}').play()")
    page.wait_for_function(f"() => document.querySelector('{VIDEO}').currentTime > 0.2")
    return page.evaluate(f"() => {{const v = document.querySelector('{VIDEO}'); return [v.videoWidth, v.videoHeight]}}")


def test_without_a_photo_of_ones_own_an_example_fills_the_form_and_runs(visit):
    v = visit()
    page = v.page
    page.click("#image-to-video-examples button[aria-label='Example: autumn meadow']")
    page.wait_for_selector("#image-to-video-image img")
    page.wait_for_function("() => document.querySelector('#image-to-video-camera_move input').value == 'Truck right'")
    v.shot("light-example")
    set_size(page, frames=16)
    run(page)
    wait_for_status(page, "Done in")


def test_a_photo_becomes_a_clip_that_plays_and_its_progress_is_seen(visit):
    v = visit()
    page = v.page
    upload(page)
    set_size(page, width=512, height=288, frames=48)
    v.shot("light-form")
    page.evaluate(NOTE_EVERY_STATUS, STATUS)
    run(page)
    page.wait_for_selector("#image-to-video-preview img")
    alt = page.get_attribute("#image-to-video-preview img", "alt")
    assert page.is_enabled("#image-to-video-cancel")
    v.shot("light-running")
    wait_for_status(page, r"^Done in .*Seed \d+")
    assert "all frames" in alt
    parts = [re.search(r"(\d+) of 48", text) for text in page.evaluate("() => seen")]
    assert len({p.group() for p in parts if p}) >= 2
    assert plays(page) == [512, 288]
    assert not page.is_enabled("#image-to-video-cancel")
    assert "Download mp4" in page.inner_text("#image-to-video-download")
    seed = re.search(r"Seed (\d+)", page.inner_text(STATUS)).group(1)
    assert page.input_value("#image-to-video-seed input") == seed
    v.shot("light-done")


def test_a_reload_in_the_middle_and_another_browser_both_find_the_running_job(visit):
    v = visit()
    upload(v.page)
    set_size(v.page, width=960, height=540, frames=240)  # so long that three pages open meanwhile
    run(v.page)
    wait_for_status(v.page, r"[1-9]\d* of 240")
    v.reload()
    seen = wait_for_status(v.page, r"\d+ of 240", 10)
    assert not any("Done" in s for s in seen)
    other = visit()
    wait_for_status(other.page, r"\d+ of 240", 10)
    wait_for_status(v.page, r"^Done in", 90)
    wait_for_status(other.page, r"^Done in", 10)
    assert plays(v.page) == [960, 540]
    assert plays(other.page) == [960, 540]


def test_cancel_by_button_and_by_escape_leaves_nothing_and_the_next_job_runs(visit, app):
    v = visit()
    upload(v.page)
    set_size(v.page, width=1024, height=576, frames=200)
    before = sorted(app.home.glob("outputs/*/*"))
    for stop in (lambda: v.page.click("#image-to-video-cancel"), lambda: v.page.keyboard.press("Escape")):
        v.page.evaluate("() => document.activeElement.blur()")
        v.page.keyboard.press("Control+Enter")
        wait_for_status(v.page, r"[1-9]\d* of 200")
        at = time.monotonic()
        stop()
        wait_for_status(v.page, r"^Cancelled\.", 5)
        assert time.monotonic() - at < 2.5
        assert sorted(app.home.glob("outputs/*/*")) == before
    set_size(v.page)
    run(v.page)
    wait_for_status(v.page, r"^Done in")


@pytest.mark.slow
def test_a_double_click_is_one_job(visit, app):
    v = visit()
    upload(v.page)
    set_size(v.page)
    before = len(list(app.home.glob("outputs/*/*")))
    v.page.dblclick("#image-to-video-run")
    wait_for_status(v.page, r"^Done in")
    v.page.get_by_role("tab", name="History").click()
    v.page.wait_for_selector(".card")
    assert v.page.locator(".card:has-text('Waiting'), .card:has-text('Running')").count() == 0
    assert len(list(app.home.glob("outputs/*/*"))) == before + 1


def test_a_message_stands_beside_its_field_and_opens_what_it_is_folded_into(visit):
    v = visit()
    run(v.page)
    v.page.wait_for_selector("#image-to-video-image-wrong .wrong")
    assert "Choose a picture first" in v.page.inner_text("#image-to-video-image-wrong")
    upload(v.page)
    v.page.wait_for_selector("#image-to-video-image-wrong", state="detached")
    set_size(v.page, width=257)
    v.page.click("#image-to-video-advanced > button")
    run(v.page)
    v.page.wait_for_selector("#image-to-video-width-wrong .wrong", state="visible")
    assert "257 is not a multiple of 2" in v.page.inner_text("#image-to-video-width-wrong")
    field = v.page.locator("#image-to-video-width").bounding_box()
    says = v.page.locator("#image-to-video-width-wrong").bounding_box()
    assert 0 <= says["y"] - (field["y"] + field["height"]) < 40
    v.shot("light-bad-field")
    v.page.fill("#image-to-video-width input[type=number]", "256")
    v.page.wait_for_selector("#image-to-video-width-wrong", state="detached")


def test_a_sentence_becomes_pictures_and_the_chosen_one_is_animated_in_the_other_tab(visit, app):
    v = visit()
    page = v.page
    page.get_by_role("tab", name="Text to video").click()
    page.wait_for_selector("#text-to-video-prompt textarea")
    page.fill("#text-to-video-prompt textarea", "a red rocket on the grass, at sunset, beside a zeppelin")
    page.click("#text-to-video-make input")
    page.get_by_role("option", name="Keyframes").click()
    page.fill("#text-to-video-candidates input[type=number]", "2")
    page.press("#text-to-video-candidates input[type=number]", "Tab")
    page.click("#text-to-video-advanced > button")
    for name, value in (("width", 256), ("height", 144)):
        page.fill(f"#text-to-video-{name} input[type=number]", str(value))
        page.press(f"#text-to-video-{name} input[type=number]", "Tab")
    page.click("#text-to-video-run")
    wait_for_status(page, r"^Done in", status="#text-to-video-status")
    assert "doesn't know: zeppelin" in page.inner_text("#text-to-video-status")
    thumbnails = page.locator("#text-to-video-stills .thumbnail-item")
    page.wait_for_function("() => document.querySelectorAll('#text-to-video-stills .thumbnail-item img').length >= 2")
    v.shot("light-keyframes")
    thumbnails.nth(1).click()
    page.wait_for_function("() => [...document.querySelectorAll('#text-to-video-stills .thumbnail-item')][1]"
                           ".className.includes('selected')")  # fmt: skip
    page.click("#text-to-video-animate")
    page.wait_for_selector("#image-to-video-image img", state="visible")
    v.shot("light-keyframe-sent")
    set_size(page)
    run(page)
    wait_for_status(page, "Done in")
    assert plays(page) == [256, 144]
    (second,) = app.home.glob("outputs/*/*-keyframe-2.png")
    kept = {path.name for path in app.home.glob("inputs/*")}
    assert f"{hashlib.sha256(second.read_bytes()).hexdigest()}.png" in kept, "it was the second that was animated"


def test_a_model_that_is_not_here_says_what_to_install_and_hides_what_it_does_not_use(visit):
    v = visit()
    assert v.page.is_visible("#image-to-video-camera_move")
    v.page.click("#image-to-video-variant input")
    v.page.get_by_role("option", name="SVD-XT (not installed)").click()
    v.page.wait_for_selector("#image-to-video-motion_bucket", state="visible")
    assert not v.page.is_visible("#image-to-video-camera_move")
    about = v.page.inner_text("#image-to-video-variant-about")
    assert "models pull svd-xt" in about
    assert re.search(r"\d\.\d GB", about)
    assert "Licence" in about
    upload(v.page)
    v.page.click("#image-to-video-run")
    wait_for_status(v.page, r"SVD-XT is not installed")
    v.shot("light-not-installed")


@pytest.mark.slow
def test_a_preset_fills_the_form_and_can_be_changed_afterwards(visit):
    v = visit()
    v.page.click("#image-to-video-preset input")
    v.page.get_by_role("option", name="Handheld").click()
    v.page.wait_for_function("() => document.querySelector('#image-to-video-camera_move input').value == 'Handheld'")
    v.page.click("#image-to-video-camera_move input")
    v.page.get_by_role("option", name="Orbit").click()
    assert v.page.input_value("#image-to-video-camera_move input") == "Orbit"
    v.page.click("#image-to-video-variant input")
    v.page.get_by_role("option", name="SVD (not installed)").click()
    v.page.wait_for_function("() => document.querySelector('#image-to-video-preset input').value == 'None'")


def test_the_history_shows_reuses_reruns_and_deletes(visit):
    v = visit()
    upload(v.page)
    set_size(v.page)
    run(v.page)
    wait_for_status(v.page, r"^Done in")
    seed = v.page.input_value("#image-to-video-seed input")
    v.page.get_by_role("tab", name="History").click()
    card = v.page.locator(".card", has_text=seed).first
    card.click()
    v.page.wait_for_selector("#history-video video")
    v.page.wait_for_function("() => document.querySelector('.card img').naturalWidth > 0")
    v.shot("light-history")
    v.page.click("#history-send")
    v.page.wait_for_selector("#image-to-video-image img", state="visible")
    assert v.page.input_value("#image-to-video-seed input") == seed
    assert not v.page.is_checked("#image-to-video-seed-dice input")
    v.page.get_by_role("tab", name="History").click()
    v.page.click("#history-rerun")
    v.page.wait_for_selector(STATUS, state="visible")
    wait_for_status(v.page, rf"^Done in .*{seed}")
    v.page.get_by_role("tab", name="History").click()
    v.page.wait_for_function(
        "(s) => [...document.querySelectorAll('.card')].filter(c => c.innerText.includes(s)).length == 2", arg=seed
    )
    first = v.page.get_attribute("#history-video video", "src")
    v.page.locator(".card", has_text=seed).first.click()
    v.page.wait_for_function("(s) => document.querySelector('#history-video video').src != s", arg=first)
    v.page.click("#history-delete")
    v.page.click("#history-really")
    v.page.wait_for_function(
        "(s) => [...document.querySelectorAll('.card')].filter(c => c.innerText.includes(s)).length == 1", arg=seed
    )


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_nothing_scrolls_sideways_at_390_px_in_any_tab(visit, theme):
    v = visit(f"?__theme={theme}", viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    for tab in ("Image to video", "Text to video", "History", "Models"):
        open_tab(v.page, tab)
        time.sleep(0.4)
        if tab.endswith("to video"):
            name = tab.lower().replace(" ", "-")
            v.page.click(f"#{name}-advanced > button")
            v.page.wait_for_selector(f"#{name}-width input")
        widths = v.page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
        v.shot(f"{theme}-390-{tab.split()[0].lower()}")
        assert widths == [390, 390], tab
        small = v.page.evaluate(
            "() => [...document.querySelectorAll('button.lg, button.md, .card')].filter(b => b.offsetParent)"
            ".map(b => b.getBoundingClientRect().height).filter(h => h < 44)"
        )
        assert small == []
    v.page.get_by_role("tab", name="Image to video").click()


def test_the_page_is_dark_where_dark_is_asked_for_and_every_field_has_a_label(visit):
    v = visit("?__theme=dark")
    upload(v.page)
    set_size(v.page)
    run(v.page)
    wait_for_status(v.page, r"^Done in")
    v.shot("dark-done")
    assert "dark" in v.page.get_attribute("body", "class")
    unnamed = v.page.evaluate(
        "() => [...document.querySelectorAll('input, textarea, select, button')].filter(e => e.offsetParent && "
        "e.type != 'file' && !(e.labels?.length || e.ariaLabel || e.title || e.innerText?.trim() || "
        "e.getAttribute('aria-labelledby'))).map(e => e.outerHTML.slice(0, 200))"
    )
    assert unnamed == []


def test_sigterm_ends_it_with_exit_code_0_and_without_a_trace_even_with_a_page_open(visit, app):
    v = visit()
    upload(v.page)
    set_size(v.page, width=1024, height=576, frames=200)
    run(v.page)
    wait_for_status(v.page, r"[1-9]\d* of 200")
    at = time.monotonic()
    app.process.send_signal(signal.SIGTERM)
    wait_for_status(v.page, r"The studio is stopping", 5)
    assert app.process.wait(20) == 0
    assert time.monotonic() - at < 20
    assert "Traceback" not in app.said()
    app.start()
    v.errors.clear()  # the page noticed that its server went away
    v.reload()
    wait_for_status(v.page, r"The studio stopped while this ran", 15)

"""A real Chromium on a real `app.py`; skipped with its reason where there is none.

``STUDIO_REQUIRE_BROWSER=1`` turns the skip into a failure, ``CHROMIUM`` names the browser, ``STUDIO_SHOTS`` a folder
for pictures of the page.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.app_process import App

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def _missing(reason):
    if os.environ.get("STUDIO_REQUIRE_BROWSER"):
        pytest.fail(f"{reason}, and STUDIO_REQUIRE_BROWSER is set")
    pytest.skip(reason)


def find_chromium():
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    app = App(tmp_path_factory.mktemp("studio") / "home")
    yield app
    app.close()


@pytest.fixture(scope="module")
def chromium():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed")
    path = find_chromium()
    if path is None:
        _missing("no Chromium was found")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """A page in a browser context of its own, which notes what the page asks for and complains about."""

    def __init__(self, browser, url, path, **context):
        self.url = url
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        self.context.set_default_timeout(20_000)
        self.outside, self.errors = [], []
        self.page = self.context.new_page()
        self.page.on("request", self._asked)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.goto(url + path)
        self.page.wait_for_selector("#image-to-video-plan p")

    def _asked(self, request):
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.outside.append(request.url)

    def _said(self, message):
        if message.type == "error":
            self.errors.append(message.text)

    def reload(self):
        """Reloads; that the page's own requests are cut by it is no error."""
        kept = list(self.errors)
        self.page.reload()
        self.page.wait_for_selector("#image-to-video-plan p")
        self.errors[:] = kept

    def shot(self, name):
        """Keeps a picture of the page, where STUDIO_SHOTS names a folder."""
        folder = os.environ.get("STUDIO_SHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture
def visit(chromium, app):
    """Opens the page; afterwards nothing may have been asked of another host, and the console has no error."""
    visits = []

    def open_page(path="", **context):
        visits.append(Visit(chromium, app.url, path, **context))
        return visits[-1]

    yield open_page
    for v in visits:
        v.context.close()
    assert [u for v in visits for u in v.outside] == []
    assert [e for v in visits for e in v.errors] == []

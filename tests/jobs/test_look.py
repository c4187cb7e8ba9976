"""The page knows the device before any job ran, and imports no torch for it."""

import subprocess
import sys

from studio.jobs.look import look_in_background
from studio.models.learned import known_device
from studio.service import Studio


def test_after_a_look_a_plan_says_whether_it_fits(settings):
    wish = {"mode": "image-to-video", "variant": "svd-xt", "image": f"input:{'0' * 64}.png"}
    with Studio(settings) as studio:
        assert "at its leanest" in studio.plan(wish).says
        assert known_device(settings.home) is None
        look_in_background(settings).join(timeout=120)
        facts, _ = known_device(settings.home)
        assert (facts.name, facts.dtype) == ("cpu", "fp32")
        assert studio.plan(wish).public()["device"] == "cpu"


def test_a_device_that_is_not_there_leaves_the_page_without_a_plan(settings):
    settings = settings.model_copy(update={"device": "cuda:7"})
    look_in_background(settings).join(timeout=120)
    assert known_device(settings.home) is None


def test_importing_it_loads_no_torch():
    code = "import sys, studio.jobs.look; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

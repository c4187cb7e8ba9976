from types import SimpleNamespace

import pytest

from studio.errors import BadInput
from studio.jobs.forecast import forecast, limits_of
from studio.jobs.workshop import open_catalog
from studio.models.learned import Learned, assumed_facts, device_file
from studio.models.limits import Limits
from studio.models.memory import Device
from studio.settings import Settings

GB = 10**9


class Gpu(Device):
    """A device of 8 GB of which all is free."""

    def total_bytes(self):
        return 8 * GB

    def free_bytes(self):
        return 8 * GB

    def taken_bytes(self):
        return 0


@pytest.fixture
def foresee(tmp_path):
    def foresee(variant="svd-xt", *, last_seconds=None, usable=True, device=None, wish=None, **settings):
        given = {"frames": 25, "width": 1024, "height": 576, "steps": 30, "sampler": "euler", "guidance_max": 3.0}
        complete = SimpleNamespace(**{**given, "decode": "auto", "decode_chunk": 14, **(wish or {})})
        chosen = Settings(home=tmp_path, **settings)
        spec = open_catalog(chosen).get(variant)
        return forecast(spec, complete, chosen, usable=usable, last_seconds=last_seconds, device=device)

    return foresee


def remember(home):
    device = Gpu("cuda:0", "NVIDIA GeForce RTX 4090", "fp16")
    learned = Learned(device_file(home, device))
    learned.facts(device)
    return learned


def test_an_embedded_engine_needs_nothing(foresee):
    assert foresee("parallax").says == "needs no weights and no GPU"
    assert foresee("parallax", last_seconds=8).says == "needs no weights and no GPU; about 8 s, as last time"
    assert foresee("parallax", last_seconds=8).seconds == 8


def test_where_no_device_is_known_only_the_bytes_are_said(foresee):
    found = foresee()
    assert found.says == "needs about 14.1 GB of GPU memory at its quickest, 3.4 GB at its leanest"
    assert found.seconds is None
    assert found.public()["device"] is None
    assert foresee(last_seconds=50).says.endswith("leanest, about 50 s, as last time")


def test_the_device_that_jobs_ran_on_is_planned_for(foresee, tmp_path):
    remember(tmp_path)
    found = foresee()
    assert found.fits
    assert found.says.startswith("fits: 7.")
    assert " of 8 GB, about " in found.says
    assert "last time" not in found.says
    assert found.seconds > 0
    assert found.public()["device"] == "cuda:0"


def test_the_time_of_the_last_such_job_is_better_than_a_prediction(foresee, tmp_path):
    remember(tmp_path)
    found = foresee(last_seconds=48.2)
    assert found.seconds == 48.2
    assert found.says.endswith(" of 8 GB, about 48 s, as last time")


def test_what_does_not_fit_says_what_would(foresee, tmp_path):
    remember(tmp_path)
    found = foresee(vram_budget="3GB")
    assert not found.fits
    assert found.says.endswith("3 GB may be taken. Lower width and height to 896x512, or allow 3.4 GB")
    assert found.public()["remedy"]
    assert found.seconds is None


def test_an_approximation_is_said_before_the_click(foresee):
    facts = assumed_facts(5 * GB)
    found = foresee(device=(facts, Learned(None)), wish={"decode": "auto"})
    assert "flicker" not in found.says
    poor = assumed_facts(5 * GB)
    poor = type(poor)(**{**poor.__dict__, "host_bytes": 11 * GB})
    assert "flicker" in foresee(device=(poor, Learned(None))).says


def test_the_settings_bound_the_plan(tmp_path):
    settings = Settings(home=tmp_path, vram="low", vram_budget="8GB", ram_budget="1 GiB")
    assert limits_of(settings) == Limits("low", 8 * GB, 2**30)
    assert limits_of(Settings(home=tmp_path)) == Limits()
    with pytest.raises(BadInput, match="no memory at all") as caught:
        limits_of(Settings(home=tmp_path, vram_budget="0GB"))
    assert caught.value.field == "vram_budget"


def test_looking_ahead_writes_nothing(foresee, tmp_path):
    remember(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    foresee()
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before

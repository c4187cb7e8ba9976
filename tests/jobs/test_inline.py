"""What every runner does, in this process: it foresees, it rests, and a lost device costs the job alone."""

import io
import json

import pytest

from studio.errors import DeviceLost
from studio.jobs import inline
from studio.jobs.health import LeakGuard
from studio.jobs.worker import Worker
from studio.jobs.workshop import Workshop
from studio.service import Studio
from tests.until import until

COMING = [{"variant": "svd-xt", "request": {"frames": 25}}]


@pytest.fixture
def foreseen(monkeypatch):
    """What managers were told of the queue."""
    heard = []
    monkeypatch.setattr(inline, "_workshops", {})
    monkeypatch.setattr(Workshop, "expect", lambda self, upcoming: heard.append(list(upcoming)))
    return heard


def test_what_is_expected_reaches_the_manager_also_where_it_is_made_later(settings, foreseen):
    inline.expect(COMING)
    inline.workshop(settings)
    assert foreseen == [COMING]
    inline.expect([])
    assert foreseen == [COMING, []]


def test_the_device_process_foresees_while_it_works(settings, foreseen):
    orders = [
        {"do": "start", "settings": settings.model_dump(mode="json")},
        {"do": "expect", "upcoming": COMING},
        {"do": "stop"},
    ]
    stream = io.BytesIO(b"".join(json.dumps(order).encode() + b"\n" for order in orders))
    assert Worker(stream, io.BytesIO(), LeakGuard.usual()).serve() == 0
    until(lambda: foreseen == [COMING])


def test_weights_that_nobody_uses_for_a_while_are_dropped(settings, small, tiny_svd):
    request = {k: small[k] for k in ("mode", "image", "seed")} | {"variant": tiny_svd}
    with Studio(settings.model_copy(update={"idle_unload_s": 0.5})) as studio:
        job = studio.wait(studio.submit(request).id)
        assert job.state == "done", job.error
        assert studio.variant(tiny_svd).resident
        until(lambda: not studio.variant(tiny_svd).resident)


def test_a_lost_device_fails_the_job_in_one_sentence(settings, small, monkeypatch):
    def lost(*args):
        raise DeviceLost("The device stopped working.", "Start the studio again.")

    monkeypatch.setattr(inline, "execute", lost)
    with Studio(settings) as studio:
        job = studio.wait(studio.submit(small).id)
        assert (job.state, job.error.error, job.error.message) == (
            "failed",
            "device-lost",
            "The device stopped working.",
        )

import io

import pytest
from PIL import Image

from studio import events
from studio.jobs.job import Job
from studio.ui import say


def job(**given):
    base = {"id": "j", "mode": "m", "state": "running", "request": {"variant": "v", "seed": 5}, "request_hash": "h"}
    return Job.model_validate({**base, "created_at": 1.0, **given})


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (8, "8 s"), (75, "1 min 15 s"), (1200, "20 min"), (3600, "1 h"), (3900, "1 h 5 min")],
)
def test_a_length_of_time_is_said_in_words(seconds, said):
    assert say.duration(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, ""), (1, "almost done"), (9, "about 9 s left"), (43, "about 45 s left"), (640, "about 10 min left")],
)
def test_an_estimate_is_not_more_exact_than_it_is(seconds, said):
    assert say.eta(seconds).replace(" 30 s", "") == said


def test_the_status_names_stage_step_percent_and_time_left():
    html = say.status(job(progress=events.Step(job_id="j", stage="render", done=5, total=20, eta_s=12.2)))
    for part in ("Rendering frames", "5 of 20", "25%", "about 12 s left", 'value="0.2500"'):
        assert part in html


def test_a_waiting_job_says_its_place_in_the_queue():
    assert "number 3 in the queue" in say.status(job(state="queued", position=3))
    assert "next in the queue" in say.status(job(state="queued", position=1))


def test_a_screen_reader_hears_quarters_not_steps():
    def heard(done):
        return say.spoken(job(progress=events.Step(job_id="j", stage="sample", done=done, total=100)))

    assert heard(26) == heard(49) == "Sampling, 25 percent."
    assert heard(50) != heard(49)


def test_text_from_outside_is_escaped_everywhere():
    bad = "<script>alert(1)</script>"
    failed = events.Failed(job_id="j", error="bad-input", message=bad, remedy=bad)
    shown = [
        say.ended(job(state="failed", error=failed, notices=(bad,))),
        say.message(bad, bad),
        say.wrong(bad, bad),
        say.status(job(progress=events.Step(job_id="j", stage=bad, done=1, total=2))),
        say.status(job(progress=events.Loading(job_id="j", component=bad, done_bytes=1, total_bytes=2))),
    ]
    assert not [html for html in shown if "<script>" in html]


def test_a_message_under_a_field_does_not_repeat_the_fields_name():
    assert "Width" not in say.wrong("width: 65 is not a multiple of 8.", "64 would do.")
    assert "65 is not a multiple of 8. 64 would do." in say.wrong("width: 65 is not a multiple of 8.", "64 would do.")


def test_the_preview_moves_and_has_a_still_for_those_who_asked_for_less_motion(tmp_path):
    frames = [Image.new("RGB", (32, 16), (i * 40, 0, 0)) for i in range(4)]
    path = tmp_path / "p.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, loop=0)
    html = say.preview(path)
    assert html.count("data:image/webp;base64,") == 2
    assert "prefers-reduced-motion: reduce" in html
    assert 'width="32" height="16"' in html
    still = Image.open(io.BytesIO(__import__("base64").b64decode(html.split("base64,")[1].split('"')[0])))
    assert getattr(still, "n_frames", 1) == 1


def test_an_interrupted_job_says_what_to_do():
    assert "Run it again" in say.ended(job(state="interrupted"))


def test_a_plan_is_one_sentence_and_looks_wrong_where_nothing_fits():
    assert say.plan("fits: 6.1 of 8 GB, about 48 s") == "<p>Fits: 6.1 of 8 GB, about 48 s.</p>"
    assert say.plan("a < b", fits=False) == '<p class="unfit">A &lt; b.</p>'

"""The studio from a request to a file, and everything that can be asked of it."""

import hashlib
import json
import time
from pathlib import Path

import pytest

from studio.errors import BadInput, NotInstalled
from studio.events import Finished, Loading, Preview, Step, Writing
from studio.jobs.ledgers import ask_unload
from studio.media.probe import probe
from studio.service import Studio
from studio.settings import Settings


def sha(path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def files_under(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_a_photo_becomes_a_clip_that_carries_its_recipe(studio, small):
    job = studio.wait(studio.submit(small).id)
    assert job.state == "done", job.error
    facts = probe(Path(job.files[0]))
    assert (facts.width, facts.height, facts.frames) == (96, 64, 4)
    recipe = studio.recipe(Path(job.files[0]))
    assert recipe["request"] == job.request
    assert recipe["request"]["seed"] == 7
    assert Path(job.poster).is_file()
    assert list(studio.settings.scratch.iterdir()) == []


def test_svd_itself_makes_a_clip_and_names_its_weights(studio, small, tiny_svd):
    small = {k: v for k, v in small.items() if k not in ("width", "height")}
    with Studio(studio.settings) as studio:  # the variant's yaml came after the first one was opened
        job = studio.submit({**small, "variant": tiny_svd})
        heard = list(studio.events(job.id))
        job = studio.job(job.id)
        assert job.state == "done", job.error
        kinds = {type(e) for e in heard}
        assert {Loading, Step, Writing, Finished} <= kinds
        assert Preview in kinds
        recipe = studio.recipe(Path(job.files[0]))
        unet = studio.settings.models / tiny_svd / "unet" / "diffusion_pytorch_model.safetensors"
        assert recipe["components"]["unet"] == sha(unet)
        assert recipe["versions"]["diffusers"]
        ways = {"encode": "whole", "sample": "both branches", "decode": "whole"}
        assert recipe["facts"]["ways"] == {tiny_svd: ways}
        resident = studio.variant(tiny_svd).resident
        assert set(resident) == {"unet", "vae", "image_encoder"}
        ask_unload(studio.settings.home)
        assert studio.variant(tiny_svd).resident == {}


def test_the_same_request_and_seed_make_the_same_bytes(studio, small, tmp_path):
    first = studio.wait(studio.submit(small, output=tmp_path / "a.mp4").id)
    second = studio.wait(studio.submit(small, output=tmp_path / "b.mp4").id)
    assert first.request_hash == second.request_hash
    assert sha(tmp_path / "a.mp4") == sha(tmp_path / "b.mp4")


def test_rerunning_a_file_makes_the_same_bytes_again(studio, small, tmp_path):
    request = {**small, "camera_move": "handheld", "seed": None}
    studio.wait(studio.submit(request, output=tmp_path / "a.mp4").id)
    job = studio.wait(studio.rerun_file(tmp_path / "a.mp4", output=tmp_path / "b.mp4").id)
    assert job.state == "done", job.error
    assert sha(tmp_path / "a.mp4") == sha(tmp_path / "b.mp4")


def test_a_rerun_elsewhere_needs_the_picture_and_takes_no_other(studio, small, tmp_path, photo):
    studio.wait(studio.submit(small, output=tmp_path / "a.mp4").id)
    other = tmp_path / "other.png"
    other.write_bytes((Path(__file__).parent / "conftest.py").read_bytes())
    with Studio(Settings(home=tmp_path / "elsewhere", runner="inline")) as elsewhere:
        with pytest.raises(BadInput, match="is not on this machine"):
            elsewhere.rerun_file(tmp_path / "a.mp4", output=tmp_path / "b.mp4")
        with pytest.raises(BadInput):
            elsewhere.rerun_file(tmp_path / "a.mp4", output=tmp_path / "b.mp4", inputs={"image": other})
        job = elsewhere.rerun_file(tmp_path / "a.mp4", output=tmp_path / "b.mp4", inputs={"image": photo})
        assert elsewhere.wait(job.id).state == "done"
    assert sha(tmp_path / "a.mp4") == sha(tmp_path / "b.mp4")


def test_a_drawn_seed_is_shown_and_kept(studio, small):
    jobs = [studio.submit({**small, "seed": None}) for _ in range(2)]
    seeds = {job.request["seed"] for job in jobs}
    assert len(seeds) == 2
    for job in jobs:
        assert studio.recipe(Path(studio.wait(job.id).files[0]))["request"]["seed"] == job.request["seed"]


def test_a_job_keeps_its_picture_even_if_the_original_goes(studio, small, photo):
    first = studio.submit(small)
    second = studio.submit({**small, "seed": 8})
    photo.unlink()
    assert [studio.wait(j.id).state for j in (first, second)] == ["done", "done"]


def test_a_preset_fills_what_was_not_given(studio, small):
    preset, fields = next(iter(studio.presets("image-to-video").items()))
    fields = {k: v for k, v in fields.items() if k not in ("title", "variant")}
    complete, _ = studio.check({"mode": "image-to-video", "image": small["image"], "preset": preset})
    assert {k: getattr(complete, k) for k in fields} == fields
    with pytest.raises(BadInput, match="preset: 'none such' is not one of"):
        studio.check({**small, "preset": "none such"})


def test_an_option_that_the_variant_does_not_use_is_ignored_and_said(studio, small):
    complete, notices = studio.check({**small, "motion_bucket": 90})
    assert complete.motion_bucket is None
    assert notices == ["motion_bucket: parallax does not use it; ignored."]


def test_a_value_beside_the_trained_ones_is_said(studio, small, tiny_svd):
    with Studio(studio.settings) as studio:
        request = {"mode": "image-to-video", "image": small["image"], "variant": tiny_svd, "frames": 3}
        assert studio.check(request)[1] == ["frames: tiny-svd was trained at 4; 3 may look worse."]


BAD = [
    ({"frames": 0}, "frames"),
    ({"frames": -1}, "frames"),
    ({"frames": 2.7}, "frames"),
    ({"frames": 10**9}, "frames"),
    ({"frames": float("nan")}, "frames"),
    ({"frames": float("inf")}, "frames"),
    ({"frames": [25]}, "frames"),
    ({"frames": "7"}, "frames"),
    ({"frames": True}, "frames"),
    ({"frames": "many"}, "frames"),
    ({"frames": {}}, "frames"),
    ({"amount": float("nan")}, "amount"),
    ({"amount": 3}, "amount"),
    ({"seed": -1}, "seed"),
    ({"seed": 2**31}, "seed"),
    ({"seed": 2**53 + 1}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"seed": True}, "seed"),
    ({"width": 95}, "width"),
    ({"width": 10}, "width"),
    ({"camera_move": "teleport"}, "camera_move"),
    ({"camera_move": ["orbit"]}, "camera_move"),
    ({"variant": "svd-xl"}, "variant"),
    ({"variant": ["svd"]}, "variant"),
    ({"fit": "stretch"}, "fit"),
    ({"background": "white"}, "background"),
    ({"format": "avi"}, "format"),
    ({"finish": ["explode"]}, "finish"),
    ({"finish": ["loop:40"]}, "finish"),
    ({"finish": ["caption:" + "x" * 999]}, "finish"),
    ({"finish": "loop"}, "finish"),
    ({"export_fps": 0}, "export_fps"),
    ({"fraems": 3}, "fraems"),
    ({"image": "nowhere.png"}, "image"),
    ({"image": ""}, "image"),
    ({"image": None}, "image"),
    ({"image": "input:" + "0" * 64 + ".png"}, "image"),
    ({"guidance_min": 3.0, "guidance_max": 2.0}, "guidance_min"),
    ({"mode": "image-to-song"}, "mode"),
    ({"mode": None}, "mode"),
]


@pytest.mark.parametrize(("change", "field"), BAD, ids=[json.dumps(c, default=str)[:40] for c, _ in BAD])
def test_a_bad_field_gets_one_sentence_and_journals_nothing(studio, small, change, field):
    before = files_under(studio.settings.home)
    with pytest.raises(BadInput) as caught:
        studio.submit({**small, **change})
    error = caught.value
    assert error.field == field
    assert error.message.startswith(f"{field}: ")
    assert len(str(error).splitlines()) == 1
    assert len(str(error)) < 400
    for foreign in ("nput should", "pydantic", "Traceback", "Errno"):
        assert foreign not in str(error)
    assert studio.history() == []
    assert files_under(studio.settings.home) == before


def test_a_missing_picture_field_is_asked_for(studio, small):
    del small["image"]
    with pytest.raises(BadInput, match="image: it is missing"):
        studio.submit(small)


def test_more_than_the_studio_takes_on_is_refused_with_what_would_do(studio, small):
    with pytest.raises(BadInput, match="up to") as caught:
        studio.submit({**small, "width": 4096, "height": 4096, "frames": 240})
    assert caught.value.field == "frames"


def test_a_gif_beyond_reason_is_refused_with_its_size_before_any_work(studio, small):
    with pytest.raises(BadInput, match=r"a GIF of .* would take about \d+ MB") as caught:
        studio.submit({**small, "width": 2048, "height": 2048, "frames": 100, "format": "gif"})
    assert caught.value.field == "format"


def test_a_variant_without_weights_says_what_to_install(studio, small):
    with pytest.raises(NotInstalled, match="python -m studio models pull svd-xt") as caught:
        studio.submit({"mode": "image-to-video", "image": small["image"], "variant": "svd-xt"})
    assert caught.value.field == "variant"
    status = studio.variant("svd-xt")
    assert not status.usable
    assert status.download_bytes > 4e9
    assert status.command == "python -m studio models pull svd-xt"


def test_usable_variants_are_listed_first(studio):
    listed = studio.variants("image-to-video")
    assert listed[0].spec.id == "parallax"
    assert {"svd", "svd-xt", "svd-xt-1.1"} <= {v.spec.id for v in listed}


@pytest.mark.parametrize("name", ["clip.avi", "clip", "clip.mp4.txt"])
def test_an_output_of_no_known_suffix_is_refused(studio, small, tmp_path, name):
    with pytest.raises(BadInput, match="end in one of"):
        studio.submit(small, output=tmp_path / name)


@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif", "webp", "zip"])
def test_the_suffix_chooses_the_format_and_the_recipe_is_in_it(studio, small, tmp_path, suffix):
    target = tmp_path / f"clip.{suffix}"
    assert studio.wait(studio.submit(small, output=target).id).state == "done"
    assert studio.recipe(target)["request"]["format"] == suffix


def test_a_double_click_is_one_job_and_two_wishes_are_two(studio, small):
    small = {**small, "seed": None}
    first, again = studio.submit(small, session="tab"), studio.submit(small, session="tab")
    other = studio.submit(small, session="other tab")
    assert first.id == again.id
    assert other.id != first.id
    studio.wait(other.id)
    assert len(studio.history()) == 2


def test_a_full_queue_says_so_and_takes_nothing(settings, small):
    with Studio(settings.model_copy(update={"queue_limit": 1})) as studio:
        jobs = [studio.submit({**small, "frames": 60, "width": 512, "height": 512})]
        deadline = time.monotonic() + 10
        while studio.job(jobs[0].id).state == "queued" and time.monotonic() < deadline:
            time.sleep(0.02)
        jobs.append(studio.submit({**small, "seed": 8}))
        with pytest.raises(BadInput, match="queue is full"):
            studio.submit({**small, "seed": 9})
        for job in reversed(jobs):
            studio.cancel(job.id)
        assert [studio.wait(j.id).state for j in jobs] == ["cancelled", "cancelled"]


def test_cancelling_leaves_no_file_and_the_next_job_runs(studio, small, tmp_path):
    long = studio.submit({**small, "frames": 200, "width": 512, "height": 512}, output=tmp_path / "long.mp4")
    for event in studio.events(long.id):
        if isinstance(event, Step) and event.stage == "render":
            studio.cancel(long.id)
            break
    started = time.monotonic()
    assert studio.wait(long.id).state == "cancelled"
    assert time.monotonic() - started < 5
    assert not list(tmp_path.glob("*.mp4")) + list(tmp_path.glob(".*part*"))
    assert list(studio.settings.scratch.iterdir()) == []
    assert studio.wait(studio.submit(small).id).state == "done"


def test_a_failed_job_keeps_its_sentence_and_does_not_stop_the_queue(studio, small, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    bad = studio.submit(small, output=blocked / "clip.mp4")
    good = studio.submit(small)
    failed = studio.wait(bad.id)
    assert (failed.state, failed.error.error) == ("failed", "write-failed")
    assert "Traceback" not in failed.error.message
    assert studio.wait(good.id).state == "done"


def test_history_keeps_everything_until_it_is_deleted(studio, small, tmp_path):
    mine = studio.wait(studio.submit(small).id)
    elsewhere = studio.wait(studio.submit(small, output=tmp_path / "mine.mp4").id)
    assert [j.id for j in studio.history()] == [elsewhere.id, mine.id]
    studio.delete(mine.id)
    studio.delete(elsewhere.id)
    assert studio.history() == []
    assert not Path(mine.files[0]).exists()
    assert (tmp_path / "mine.mp4").exists(), "a file outside the studio's outputs is the user's"


def test_a_job_that_runs_is_not_deleted(studio, small):
    job = studio.submit({**small, "frames": 200, "width": 512, "height": 512})
    with pytest.raises(BadInput, match="Cancel it first"):
        studio.delete(job.id)
    studio.cancel(job.id)
    studio.wait(job.id)


def test_running_a_job_again_repeats_its_seed(studio, small):
    first = studio.wait(studio.submit({**small, "seed": None}).id)
    second = studio.wait(studio.rerun(first.id).id)
    assert second.request == first.request
    assert sha(first.files[0]) == sha(second.files[0])


def test_the_plan_learns_how_long_such_a_job_takes(studio, small):
    before = studio.plan(small)
    assert before.seconds is None
    studio.wait(studio.submit(small).id)
    after = studio.plan({**small, "seed": 99})
    assert after.seconds > 0
    assert "as last time" in after.says


def test_another_studio_on_the_same_home_sees_the_job_and_can_cancel_it(studio, small, settings):
    job = studio.submit({**small, "frames": 200, "width": 512, "height": 512})
    with Studio(settings) as other:
        assert other.job(job.id).open
        other.cancel(job.id)
        assert other.wait(job.id).state == "cancelled"
    assert studio.job(job.id).state == "cancelled"


def test_closing_the_studio_interrupts_what_runs_and_a_served_one_takes_the_rest_over(settings, small):
    long = {**small, "frames": 200, "width": 512, "height": 512}
    with Studio(settings) as studio:
        running = studio.submit(long)
        waiting = studio.submit(small)
        for event in studio.events(running.id):
            if isinstance(event, Step):
                break
    with Studio(settings, serve=True) as studio:
        assert studio.job(running.id).state == "interrupted"
        assert studio.wait(waiting.id).state == "done"
        again = studio.rerun(running.id)
        assert again.request == studio.job(running.id).request
        studio.cancel(again.id)
        studio.wait(again.id)

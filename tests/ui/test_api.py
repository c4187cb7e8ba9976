"""The studio's endpoints, called as anyone would call them: by gradio_client, on a real `app.py`."""

import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from gradio_client import Client, exceptions, handle_file
from PIL import Image

from tests.app_process import App

SMALL = {"variant": "parallax", "width": 96, "height": 64, "frames": 4, "export_fps": 8}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    app = App(tmp_path_factory.mktemp("studio") / "home", STUDIO_RUNNER="inline")
    yield app
    app.close()


@pytest.fixture(scope="module")
def client(app, tmp_path_factory):
    client = Client(app.url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))
    yield client
    client.close()


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.radial_gradient("L").convert("RGB").save(path)
    return path


def test_a_picture_goes_in_by_field_names_and_the_file_and_its_recipe_come_out(client, photo):
    file, facts = client.predict(image=handle_file(photo), **SMALL, seed=7, api_name="/image_to_video")
    assert Path(file).suffix == ".mp4"
    assert Path(file).read_bytes()[4:8] == b"ftyp"
    assert facts["seed"] == 7
    assert facts["recipe"]["request"]["frames"] == 4
    assert facts["state"] == "done"
    assert client.predict(job_id=facts["job_id"], api_name="/job")["files"] == facts["files"]


def test_the_same_request_makes_the_same_bytes_and_a_drawn_seed_is_told(client, photo):
    one, facts = client.predict(image=handle_file(photo), **SMALL, api_name="/image_to_video")
    two, again = client.predict(image=handle_file(photo), **SMALL, seed=facts["seed"], api_name="/image_to_video")
    assert facts["job_id"] != again["job_id"]
    assert Path(one).read_bytes() == Path(two).read_bytes()


def test_a_sentence_goes_in_and_a_clip_or_its_keyframes_come_out(client):
    asked = {"prompt": "a cup on a table", "width": 64, "height": 64, "seed": 3, "api_name": "/text_to_video"}
    file, facts = client.predict(**asked, frames=2)
    assert Path(file).suffix == ".mp4"
    assert [Path(f).suffix for f in facts["files"]] == [".mp4", ".png"]
    file, facts = client.predict(**asked, make="keyframes", format="zip", candidates=2)
    assert Path(file).suffix == ".zip"
    assert [k["seed"] for k in facts["recipe"]["facts"]["keyframes"]] == [3, 4]
    for wrong in ({"painter": ["toybox"]}, {"painter": "nonsense", "variant": "parallax"}, {"loras": "x"}, {"pick": 2}):
        with pytest.raises(exceptions.AppError, match=f"^{next(iter(wrong))}: "):
            client.predict(**asked, **wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"frames": 1000}, "frames: 1000"),
        ({"frames": 2.7}, "frames: 2.7"),
        ({"frames": [4]}, "frames: [4]"),
        ({"seed": -1}, "seed: -1"),
        ({"seed": 2**53 + 1}, "seed: 9007199254740993"),
        ({"width": 97}, "width: 97 is not a multiple of 2"),
        ({"variant": "nonsense"}, "variant: 'nonsense' is not known"),
        ({"variant": ["parallax"]}, "variant: ['parallax']"),
        ({"variant": "svd-xt", "width": 512, "height": 512}, "variant: svd-xt can't run here"),
        ({"fit": "stretch"}, "fit: 'stretch'"),
        ({"format": "exe"}, "format: 'exe'"),
        ({"finish": ["nonsense"]}, "finish: 'nonsense'"),
        ({"image": None}, "image: it is missing"),
        ({"image": "/etc/passwd"}, "image: this is not an uploaded file"),
        ({"image": {"path": "/etc/passwd"}}, "image: this is not an uploaded file"),
    ],
)
def test_what_will_not_do_comes_back_as_one_sentence_that_names_the_field(app, client, photo, wrong, says):
    with pytest.raises(exceptions.AppError) as e:
        client.predict(**{"image": handle_file(photo), **SMALL, **wrong}, api_name="/image_to_video")
    assert str(e.value).startswith(says)
    assert "\n" not in str(e.value)
    assert "Traceback" not in app.said()


def test_a_picture_that_is_none_is_refused_without_a_trace(app, client, tmp_path):
    fake = tmp_path / "fake.png"
    fake.write_bytes(b"not a picture at all")
    with pytest.raises(exceptions.AppError) as e:
        client.predict(image=handle_file(fake), **SMALL, api_name="/image_to_video")
    assert "image" in str(e.value) or "picture" in str(e.value)
    assert "Traceback" not in app.said()


def test_a_call_that_is_given_up_leaves_its_job_and_cancel_stops_it(app, client, photo):
    big = {**SMALL, "width": 1024, "height": 576, "frames": 200, "seed": 3}
    call = client.submit(image=handle_file(photo), **big, api_name="/image_to_video")
    job_id = running(app)
    call.cancel()
    time.sleep(0.5)
    assert client.predict(job_id=job_id, api_name="/job")["state"] == "running"
    client.predict(job_id=job_id, api_name="/cancel")
    until = time.monotonic() + 5
    while client.predict(job_id=job_id, api_name="/job")["state"] != "cancelled":
        assert time.monotonic() < until
        time.sleep(0.1)


def running(app):
    """The id of the job that runs now, by the journal."""
    import sqlite3

    until = time.monotonic() + 10
    while time.monotonic() < until:
        with sqlite3.connect(f"file:{app.home / 'journal.sqlite'}?mode=ro", uri=True) as db:
            row = db.execute("SELECT id FROM jobs WHERE state = 'running'").fetchone()
        db.close()
        if row:
            return row[0]
        time.sleep(0.05)
    raise AssertionError("nothing runs")


def test_an_unknown_job_is_a_sentence(client):
    with pytest.raises(exceptions.AppError) as e:
        client.predict(job_id="nonsense", api_name="/job")
    assert "nonsense" in str(e.value)


def test_only_the_modes_and_the_jobs_are_shown_and_the_parameters_are_the_requests_fields(client):
    from studio.modes import all_modes

    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    modes = {f"/{mode.id.replace('-', '_')}": mode for mode in all_modes().values()}
    assert set(named) == {*modes, "/job", "/cancel"}
    for name, mode in modes.items():
        parameters = [p["parameter_name"] for p in named[name]["parameters"]]
        assert set(parameters) == set(mode.request.model_fields) - {"mode"}
        needed = [name for name, field in mode.request.model_fields.items() if field.is_required()]
        assert set(parameters[: len(needed)]) == set(needed)


def ask(app, path, *, data=None, **headers):
    request = urllib.request.Request(app.url + path, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, dict(answer.headers)
    except urllib.error.HTTPError as e:
        e.close()
        return e.code, dict(e.headers)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("gradio_api/file=/etc/passwd", 403),
        ("gradio_api/file={home}/journal.sqlite", 403),
        ("gradio_api/file={home}/outputs/../journal.sqlite", 403),
        ("gradio_api/file=https://example.invalid/", 403),
        ("gradio_api/proxy=https://example.invalid/", 403),
        ("monitoring/summary", 403),
        ("gradio_api/run/image_to_video", 405),
        ("docs", 404),
        ("openapi.json", 404),
    ],
)
def test_what_is_not_meant_to_be_served_is_not(app, path, code):
    got, _ = ask(app, path.format(home=app.home))
    assert got in {code, 404} if code == 405 else got == code


def test_the_direct_route_past_the_queue_is_closed(app):
    body = json.dumps({"data": []}).encode()
    code, _ = ask(app, "gradio_api/run/job", data=body, **{"Content-Type": "application/json"})
    assert code >= 400


def test_a_foreign_host_or_origin_is_turned_away_and_the_headers_are_set(app):
    assert ask(app, "", Host="rebound.example")[0] == 403
    body = b"{}"
    assert ask(app, "gradio_api/queue/join", data=body, Origin="https://evil.example")[0] == 403
    code, headers = ask(app, "")
    assert (code, headers["x-content-type-options"]) == (200, "nosniff")


def test_bodies_that_are_too_large_or_too_deep_are_refused_and_the_studio_stays_well(app):
    join = "gradio_api/queue/join"
    kind = {"Content-Type": "application/json"}
    assert ask(app, join, data=b"[" * 100_000, **kind)[0] == 400
    assert ask(app, join, data=b'{"data": ["' + b"x" * 3_000_000 + b'"]}', **kind)[0] == 413
    assert ask(app, "")[0] == 200


def test_several_callers_wait_at_the_same_time(client, photo):
    got = []

    def call(seed):
        got.append(client.predict(image=handle_file(photo), **SMALL, seed=seed, api_name="/image_to_video")[1]["seed"])

    threads = [threading.Thread(target=call, args=(s,)) for s in (1, 2, 3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(20)
    assert sorted(got) == [1, 2, 3]

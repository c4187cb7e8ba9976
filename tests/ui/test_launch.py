import os
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest
from gradio_client import Client

import app as entry
from studio.errors import BadInput
from studio.settings import Settings
from studio.ui import launch
from tests.app_process import App


@pytest.fixture
def start(monkeypatch, capsys):
    """Runs app.py's `main` with just these options and variables; returns its exit code and what it said."""
    for name in list(os.environ):
        if name.startswith(("STUDIO_", "SPACE")):
            monkeypatch.delenv(name)

    def run(*options, **environ):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        try:
            code = entry.main(options)
        except SystemExit as e:  # argparse's own
            code = e.code
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--port", "eighty"], "--port: 'eighty' won't do"),
        (["--port", "0"], "--port: '0' won't do"),
        (["--device", "abacus"], "--device: 'abacus' won't do"),
        (["--precision", "fp8"], "--precision: 'fp8' won't do"),
        (["--host", "192.0.2.1"], "--host: '192.0.2.1' is no address of this machine"),
        (["--home", "/proc/nowhere"], "--home: /proc/nowhere can't be written"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    ],
)
def test_an_option_that_will_not_do_is_said_in_a_sentence_with_exit_code_2(start, options, says):
    code, said = start(*options)
    assert code == 2
    assert says in said


def test_a_variable_that_will_not_do_is_named_as_the_variable(start):
    code, said = start(STUDIO_PORT="99999")
    assert code == 2
    assert said.startswith("STUDIO_PORT: '99999' won't do")


def test_a_port_that_is_in_use_is_refused_when_asked_for_and_passed_over_when_not(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"--port: {port} is in use"):
            launch.free_port("127.0.0.1", port)
        launch.FIRST_PORT, kept = port, launch.FIRST_PORT
        try:
            assert port < launch.free_port("127.0.0.1", None) < port + launch.PORTS
        finally:
            launch.FIRST_PORT = kept


def test_a_space_listens_for_everyone_on_its_port_unless_told_otherwise(start, monkeypatch):
    assert entry.read_arguments([]).host == "127.0.0.1"
    monkeypatch.setenv("SPACE_ID", "someone/svd-studio")
    assert (entry.read_arguments([]).host, entry.read_arguments([]).port) == ("0.0.0.0", 7860)
    assert entry.read_arguments(["--port", "1234"]).port == 1234


def test_the_options_are_the_settings_of_the_same_name(start, tmp_path):
    asked = [
        "--home",
        str(tmp_path),
        "--models-dir",
        "m",
        "--comfyui-dir",
        "c",
        "--device",
        "cpu",
        "--precision",
        "fp32",
    ]
    settings = entry.read_arguments([*asked, "--share", "--host", "::1", "--port", "9999"])
    assert (settings.home, settings.device, settings.precision, settings.share) == (tmp_path, "cpu", "fp32", True)
    assert (settings.host, settings.port, settings.models.name, settings.comfyui_dir.name) == ("::1", 9999, "m", "c")


def test_a_password_is_read_from_user_and_colon_and_never_shown(tmp_path):
    settings = Settings(home=tmp_path, auth="me:a:b")
    assert launch._auth(settings) == ("me", "a:b")
    assert "a:b" not in repr(settings)


def test_old_uploads_are_cleared_at_the_start_and_new_ones_kept(tmp_path):
    uploads = tmp_path / "uploads"
    for name, age in (("old", 2 * 86400), ("new", 60)):
        folder = uploads / name
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(b"x")
        os.utime(folder, (time.time() - age,) * 2)
    (tmp_path / "precious").mkdir()
    (uploads / "link").symlink_to(tmp_path / "precious")
    os.utime(uploads / "link", (0, 0), follow_symlinks=False)
    launch._make_home(Settings(home=tmp_path))
    assert [p.name for p in uploads.iterdir()] == ["new"]
    assert (tmp_path / "precious").is_dir()


def test_the_loopback_is_quiet_and_sigint_ends_it_with_exit_code_0(start, tmp_path):
    app = App(tmp_path / "home", STUDIO_RUNNER="inline")
    try:
        busy = start("--home", str(tmp_path / "other"), "--port", str(app.port))
        assert busy == (2, f"--port: {app.port} is in use. Choose another, or leave it out.\n")
        assert app.stop(signal.SIGINT) == 0
        assert app.said().splitlines() == [f"SVD Studio: http://127.0.0.1:{app.port} (Ctrl+C stops it)", "Stopping."]
    finally:
        app.close()


def test_with_a_password_nothing_is_served_without_it(tmp_path):
    app = App(tmp_path / "home", STUDIO_RUNNER="inline", STUDIO_AUTH="me:secret")
    clip = tmp_path / "home" / "outputs" / "clip.mp4"
    clip.write_bytes(b"clip")
    try:
        for path in ("config", f"gradio_api/file={clip}", "gradio_api/info"):
            with pytest.raises(urllib.error.HTTPError) as e:
                urllib.request.urlopen(app.url + path, timeout=5)
            e.value.close()
            assert e.value.code == 401
        assert Client(app.url, auth=("me", "secret"), verbose=False).predict is not None
    finally:
        app.close()


def test_listening_for_everyone_warns_and_a_share_link_that_can_not_be_made_is_one_line(tmp_path):
    app = App(
        tmp_path / "home",
        "--host",
        "0.0.0.0",
        "--share",
        STUDIO_RUNNER="inline",
        GRADIO_API_SERVER="http://127.0.0.1:9/",
    )
    try:
        for _ in range(100):
            if "Warning" in app.said():
                break
            time.sleep(0.1)
        lines = app.said().splitlines()
        assert [line for line in lines if line.startswith("No public link: ")] != []
        assert [line for line in lines if line.startswith("Warning: anyone who reaches 0.0.0.0")] != []
        assert len(lines) == 3, lines
        assert app.stop() == 0
    finally:
        app.close()

"""`launch`: the studio on a port of this machine, until it is told to stop."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import BadInput
from studio.settings import Settings

if TYPE_CHECKING:
    import gradio as gr

    from studio.service import Studio

FIRST_PORT, PORTS = 7860, 100
_KEEP_UPLOADS_S = 24 * 3600
_FAREWELL_S = 0.6  # two looks at a job: time for the pages to be told


@dataclass
class Server:
    """The running page. `url` is where it is found on this machine."""

    demo: gr.Blocks
    studio: Studio
    url: str
    share_url: str | None
    stopping: threading.Event

    def close(self) -> None:
        """Tells whoever waits, takes no more requests, and lets the studio journal what is to be journaled."""
        self.stopping.set()
        time.sleep(_FAREWELL_S)
        server = getattr(self.demo, "server", None)
        if server is not None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # each open page's stream is cut, on purpose
            server.config.timeout_graceful_shutdown = 1
        self.demo.close(verbose=False)
        self.studio.close()


def launch(settings: Settings, *, block: bool = True, gpu: Callable[..., Any] | None = None) -> Server:
    """Opens the studio and its page. With `block`, returns once SIGTERM or SIGINT has come and all is put away.

    Args:
        gpu: ``spaces.GPU`` on ZeroGPU.

    Raises:
        BadInput: the port is taken, the address is not this machine's, or the home folder can't be written.
    """
    port = free_port(settings.host, settings.port)
    uploads = _make_home(settings)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    stop = _on_signals() if block else None
    server = _open(settings, port, uploads, gpu)
    _say(settings, server)
    if stop is not None:
        try:
            while not stop.wait(3600):
                continue
        finally:
            print("Stopping.", flush=True)
            server.close()
    return server


def _open(settings: Settings, port: int, uploads: Path, gpu: Callable[..., Any] | None) -> Server:
    import gradio as gr
    from starlette.middleware import Middleware

    from studio.jobs.look import look_in_background
    from studio.media.read import harden_pillow
    from studio.service import Studio
    from studio.ui import theme
    from studio.ui.ingress import MAX_FILE, Ingress, is_loopback
    from studio.ui.page import build_page

    harden_pillow()
    gr.set_static_paths(
        [settings.outputs, settings.inputs, settings.home / "posters", settings.examples]
    )  # served where they lie: no second copy of a clip
    studio = Studio(settings, serve=True, gpu=gpu)
    local_only = is_loopback(settings.host) and not settings.share
    stopping = threading.Event()
    try:
        demo = build_page(studio, uploads=uploads, stopping=stopping).blocks
        with contextlib.redirect_stdout(io.StringIO()):  # Gradio explains a failed share link in a page of text
            demo.launch(
                prevent_thread_lock=True,
                quiet=True,
                server_name=settings.host,
                server_port=port,
                share=settings.share,
                auth=_auth(settings),
                theme=theme.make_theme(),
                css_paths=[theme.CSS],
                head=f"<script>{theme.SCRIPT.read_text(encoding='utf-8')}</script>",
                favicon_path=str(theme.ICON),
                footer_links=["api", "settings"],
                ssr_mode=False,
                show_error=False,
                strict_cors=True,
                run_history=False,
                enable_monitoring=False,
                max_file_size=MAX_FILE,
                app_kwargs={
                    "middleware": [Middleware(Ingress, local_only=local_only, free_bytes=studio.free_bytes)],
                    "openapi_url": None,
                    "docs_url": None,
                    "redoc_url": None,
                },
            )
    except OSError as e:
        studio.close()
        raise BadInput(f"--port: {port} was taken meanwhile.", "Choose another.") from e
    except BaseException:
        studio.close()
        raise
    if gpu is None:  # on ZeroGPU there is no device outside a job
        look_in_background(settings)
    return Server(demo, studio, demo.local_url.rstrip("/"), demo.share_url, stopping)


def free_port(host: str, port: int | None) -> int:
    """The port to listen on: the one asked for, else the first free one from 7860.

    Raises:
        BadInput: it is in use, needs other rights, or the host is no address of this machine.
    """
    if port is not None:
        problem = _cannot_bind(host, port)
        if problem is not None:
            raise problem
        return port
    for candidate in range(FIRST_PORT, FIRST_PORT + PORTS):
        problem = _cannot_bind(host, candidate)
        if problem is None:
            return candidate
        if problem.field == "host":
            raise problem
    raise BadInput(f"--port: none of {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free.", "Give one with --port.")


def _cannot_bind(host: str, port: int) -> BadInput | None:
    bare = host.strip("[]")
    try:
        family = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((bare, port))
    except OSError as e:
        if e.errno == errno.EADDRINUSE:
            return BadInput(f"--port: {port} is in use.", "Choose another, or leave it out.", field="port")
        if e.errno == errno.EACCES:
            return BadInput(
                f"--port: {port} needs more rights than this user has.", "Choose one above 1023.", field="port"
            )
        return BadInput(f"--host: {host!r} is no address of this machine.", "127.0.0.1 is the default.", field="host")
    return None


def _make_home(settings: Settings) -> Path:
    """Makes the folders, clears uploads that nobody wants any more, and returns the folder of uploads."""
    uploads = settings.home / "uploads"
    try:
        for folder in (settings.home, settings.outputs, settings.inputs, uploads):
            folder.mkdir(parents=True, exist_ok=True)
        if not os.access(uploads, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        _sweep(uploads, time.time() - _KEEP_UPLOADS_S)
    except OSError as e:
        raise BadInput(f"--home: {settings.home} can't be written ({e.strerror}).", "Choose another folder.") from e
    return uploads


def _sweep(folder: Path, before: float) -> None:
    """Removes what a browser uploaded before that time; Gradio itself forgets it at a restart."""
    for path in folder.iterdir():
        if path.lstat().st_mtime < before:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _auth(settings: Settings) -> tuple[str, str] | None:
    if not settings.auth:
        return None
    user, _, password = settings.auth.partition(":")
    return user, password


def _on_signals() -> threading.Event:
    """An event that the first SIGTERM or SIGINT sets; the second ends the process at once."""
    stop = threading.Event()

    def heard(number: int, _: Any) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    signal.signal(signal.SIGTERM, heard)
    signal.signal(signal.SIGINT, heard)
    return stop


def _say(settings: Settings, server: Server) -> None:
    """Tells the terminal where the page is, and what is risky about how it was opened."""
    from studio.ui.ingress import is_loopback

    print(f"SVD Studio: {server.url} (Ctrl+C stops it)", flush=True)
    if settings.share:
        says = (
            f"Public link: {server.share_url}"
            if server.share_url
            else "No public link: the share server can't be reached."
        )
        print(says, flush=True)
    is_open = bool(server.share_url) or not is_loopback(settings.host)
    if is_open and not settings.auth and "SPACE_ID" not in os.environ:
        who = "anyone with the link" if server.share_url else f"anyone who reaches {settings.host}"
        print(
            f"Warning: {who} can use this studio and see its clips. STUDIO_AUTH=user:password asks for a password.",
            file=sys.stderr,
            flush=True,
        )

"""Seconds from `python app.py` to its first answered request, beside a bare Gradio page with one textbox.

Both are started as processes of their own, in turns, on a home folder that exists already; the bare page started
twice a round is the identity control. Needs gradio; no GPU.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.compare import compare

_ROOT = Path(__file__).resolve().parent.parent

_BARE = """
import sys
import gradio as gr
with gr.Blocks(analytics_enabled=False) as demo:
    gr.Textbox()
demo.launch(server_port=int(sys.argv[1]), quiet=True)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=7, help="rounds of three starts each (7)")
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a start has failed (60)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The figures: medians in seconds, the ratio app.py / bare page, and the identity control's."""
    with tempfile.TemporaryDirectory() as folder:
        app = [sys.executable, "app.py", "--home", folder, "--port"]
        bare = [sys.executable, "-c", _BARE]
        found = compare(
            lambda: _first_answer(bare, args.limit), lambda: _first_answer(app, args.limit), rounds=args.rounds
        )
    names = {"baseline_s": "bare_page_s", "candidate_s": "app_s", "ratio": "app_over_bare"}
    return {names.get(key, key): value for key, value in found.items()}


def _first_answer(command: list[str], limit_s: float) -> None:
    """Starts it, returns once its page was answered with 200, and stops it."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    until = time.monotonic() + limit_s
    process = subprocess.Popen(
        [*command, str(port)], cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        while not _answers(f"http://127.0.0.1:{port}/"):
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                raise RuntimeError(f"{command[1]} did not answer: {process.communicate()[1][-500:]}")
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False

"""`ResultPanel`: the right-hand side of a tab. It only watches a job; the job lives whether or not anyone looks."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import BadInput, StudioError
from studio.jobs.job import Job
from studio.media.recipe import read_recipe
from studio.service import Studio
from studio.ui import say
from studio.ui.panels import Panel

POLL_S = 0.25
"""Time between two looks at a job."""

GOING = say.message("The studio is stopping.", "This job can be run again from the history.")

_PLAYABLE = (".mp4", ".webm")
_log = logging.getLogger("studio.ui")


class ResultPanel:
    """Status, preview, clip and download of one job at a time, for every browser on its own.

    Args:
        name: stands before every element's id.
        hint: what an empty panel says.
        cancel: the button that stops the job, wherever the tab has put it.
        stopping: set once the studio is about to go.
        more: what the mode shows besides.
    """

    def __init__(
        self, studio: Studio, name: str, hint: str, cancel: gr.Button, stopping: threading.Event, more: Panel
    ) -> None:
        self.studio, self.more = studio, more
        self.name = name
        self.cancel = cancel
        self.stopping = stopping
        self.hint = f'<div class="idle"><p>{escape(hint)}</p></div>'
        self._watching: dict[str, object] = {}
        self._draw()

    def _draw(self) -> None:
        name = self.name
        self.status = gr.HTML(self.hint, elem_id=f"{name}-status")
        self.spoken = gr.HTML("", elem_id=f"{name}-spoken", elem_classes=["spoken"])
        self.preview = gr.HTML("", elem_id=f"{name}-preview", visible=False)
        self.video = gr.Video(
            label="Clip",
            elem_id=f"{name}-video",
            elem_classes=["clip"],
            interactive=False,
            visible=False,
            loop=True,
            buttons=[],
        )
        self.still = gr.HTML("", elem_id=f"{name}-still", visible=False)
        self.more.draw_answers()
        self.download = gr.DownloadButton("Download", elem_id=f"{name}-download", visible=False)
        self.stills = gr.Gallery(
            label="Pictures", elem_id=f"{name}-stills", elem_classes=["stills"], visible=False, interactive=False,
            columns=3, height="auto", object_fit="contain", buttons=["fullscreen", "download"],
        )  # fmt: skip
        self.chosen = gr.State(0)
        self.animate = gr.Button("Animate this picture", elem_id=f"{name}-animate", visible=False)
        self.about = gr.HTML("", elem_id=f"{name}-about", visible=False)

    @property
    def outputs(self) -> list[Any]:
        """What `attach` writes to."""
        return [
            self.status, self.spoken, self.preview, self.video, self.still, self.download, self.about, self.cancel,
            self.stills, self.chosen, self.animate, *self.more.outputs,
        ]  # fmt: skip

    async def attach(self, job_id: str, session: str) -> AsyncIterator[dict[Any, Any]]:
        """Updates from now until the job is over, or until the same browser tab looks at another job."""
        turn = self._watching[session] = object()
        try:
            seen: tuple[int, int] | None = None
            while self._watching.get(session) is turn:
                job = await asyncio.to_thread(find_job, self.studio, job_id)
                if job is None:
                    yield self.empty()
                    return
                now = (job.version, _changed_ns(job.preview))
                if now != seen:
                    yield self.show(job, new_preview=seen is None or now[1] != seen[1])
                    seen = now
                if not job.open:
                    return
                if self.stopping.is_set():
                    yield {self.status: GOING, self.cancel: gr.update(interactive=False)}
                    return
                await asyncio.sleep(POLL_S)
        finally:
            if self._watching.get(session) is turn:
                del self._watching[session]

    def empty(self) -> dict[Any, Any]:
        """The panel before any job."""
        gone = gr.update(visible=False)
        return {
            self.status: self.hint,
            self.spoken: "",
            self.preview: gr.update(value="", visible=False),
            self.video: gr.update(value=None, visible=False),
            self.still: gone,
            self.download: gone,
            self.about: gone,
            self.cancel: gr.update(interactive=False),
            **self._no_stills(),
            **self.more.hide(),
        }

    def _no_stills(self) -> dict[Any, Any]:
        gone = gr.update(visible=False)
        return {self.stills: gr.update(value=None, visible=False), self.chosen: 0, self.animate: gone}

    def show(self, job: Job, *, new_preview: bool = True) -> dict[Any, Any]:
        """The panel for this snapshot."""
        return self._open(job, new_preview) if job.open else self._ended(job)

    def _open(self, job: Job, new_preview: bool) -> dict[Any, Any]:
        gone = gr.update(visible=False)
        shown = {
            self.status: say.status(job) + say.notices(job.notices),
            self.spoken: say.spoken(job),
            self.video: gr.update(value=None, visible=False),
            self.still: gone,
            self.download: gone,
            self.about: gone,
            self.cancel: gr.update(interactive=True),
            **self._no_stills(),
            **self.more.hide(),
        }
        if not job.preview:
            shown[self.preview] = gr.update(value="", visible=False)
        elif new_preview:
            shown[self.preview] = _preview(job.preview)
        return shown

    def _ended(self, job: Job) -> dict[Any, Any]:
        clip = job.files[0] if job.files else None
        playable = bool(clip) and Path(clip).suffix in _PLAYABLE
        return {
            self.status: say.ended(job),
            self.spoken: say.spoken(job),
            self.preview: gr.update(value="", visible=False),
            self.video: gr.update(value=clip if playable else None, visible=playable),
            self.still: gr.update(
                value=still(job) if clip and not playable else "", visible=bool(clip and not playable)
            ),
            self.download: download(clip),
            self.about: gr.update(value=settings_used(job), visible=bool(clip)),
            self.cancel: gr.update(interactive=False),
            **self._show_stills(job),
            **(self.more.show(job) if job.state == "done" else self.more.hide()),
        }

    def _show_stills(self, job: Job) -> dict[Any, Any]:
        """The pictures that go with the clip, the one that was animated chosen."""
        found = stills(job)
        if not found:
            return self._no_stills()
        shown = [(str(path), f"{i} of {len(found)}") for i, path in enumerate(found, start=1)]
        return {
            self.stills: gr.update(value=shown, visible=True, columns=min(3, len(found)), selected_index=0),
            self.chosen: 0,
            self.animate: gr.update(visible=True),
        }


def stills(job: Job) -> list[Path]:
    """The pictures that go with the job's clip, carry a recipe of their own and are still there."""
    beside = (Path(f) for f in job.files[1:] if f.endswith(".png") and Path(f).parent == Path(job.files[0]).parent)
    return [path for path in beside if _carries_recipe(path)]


def _carries_recipe(path: Path) -> bool:
    try:
        return bool(read_recipe(path))
    except BadInput:
        return False


def find_job(studio: Studio, job_id: str) -> Job | None:
    """The job, or None where there is none (any more)."""
    if not job_id:
        return None
    try:
        return studio.job(job_id)
    except StudioError:
        return None


def still(job: Job) -> str:
    """The clip where a video element can't play it: a moving picture as it is, a zip by its poster."""
    clip = job.files[0]
    if Path(clip).suffix in (".gif", ".webp"):
        return say.picture(clip, "The finished clip")
    poster = say.picture(job.poster, "First frame of the clip") if job.poster else ""
    return f'{poster}<p class="quiet">{escape(Path(clip).name)}</p>'


def download(clip: str | None) -> dict[str, Any]:
    """The update of a download button."""
    if not clip:
        return gr.update(value=None, visible=False)
    path = Path(clip)
    return gr.update(value=clip, visible=True, label=f"Download {path.suffix[1:]} ({say.size(path.stat().st_size)})")


def settings_used(job: Job) -> str:
    """The request that made the clip, folded away."""
    lines = escape(json.dumps(job.request, indent=2, ensure_ascii=False))
    return f'<details class="recipe"><summary>Settings of this clip</summary><pre tabindex="0">{lines}</pre></details>'


def _changed_ns(path: str | None) -> int:
    try:
        return Path(path).stat().st_mtime_ns if path else 0
    except FileNotFoundError:
        return 0


def _preview(path: str) -> dict[str, Any]:
    try:
        return gr.update(value=say.preview(path), visible=True)
    except OSError as e:  # replaced or removed while it was read: the next look has a newer one
        _log.debug("preview %s: %s", path, e)
        return gr.skip()

"""`HistoryTab`: every job that was ever submitted, newest first, with what can still be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.jobs.job import Job
from studio.service import Studio
from studio.ui import say
from studio.ui.files import file_url
from studio.ui.mode_tab import PRIVATE, ModeTab
from studio.ui.watch import find_job, still

PAGE = 12
"""Jobs shown at a time."""

PICK_JS = """
element.addEventListener('click', (event) => {
  const card = event.target.closest('[data-job]')
  if (card) trigger('select', {value: card.dataset.job, index: 0})
})
"""

HIDDEN = gr.update(visible=False)


class HistoryTab:
    """Build it inside an open tab, then `wire` it.

    Args:
        tabs: the modes' tabs by id, into which a job's settings can be sent.
    """

    def __init__(self, studio: Studio, tabs: Mapping[str, ModeTab]) -> None:
        self.studio, self.tabs = studio, tabs
        self.pages = gr.State([])  # creation times before which the pages gone through began
        self.picked = gr.State("")
        with gr.Row(equal_height=False, elem_classes=["bench"]):
            with gr.Column(scale=6, min_width=320):
                self.cards = gr.HTML("", elem_id="history-cards", js_on_load=PICK_JS)
                with gr.Row(elem_classes=["pager"]):
                    self.newer = gr.Button(
                        "Newer", size="md", min_width=100, interactive=False, elem_id="history-newer"
                    )
                    self.older = gr.Button(
                        "Older", size="md", min_width=100, interactive=False, elem_id="history-older"
                    )
            with gr.Column(scale=5, min_width=320):
                self._draw_one()

    def _draw_one(self) -> None:
        self.title = gr.HTML('<p class="quiet">Choose a clip to see how it was made.</p>', elem_id="history-title")
        self.video = gr.Video(
            label="Clip", interactive=False, visible=False, loop=True, buttons=[], elem_id="history-video",
            elem_classes=["clip"],
        )  # fmt: skip
        self.still = gr.HTML("", visible=False, elem_id="history-still")
        with gr.Row(visible=False, elem_classes=["actions"]) as self.actions:
            self.rerun = gr.Button("Run again", variant="primary", size="md", min_width=100, elem_id="history-rerun")
            self.send = gr.Button("Use these settings", size="md", min_width=150, elem_id="history-send")
            self.download = gr.DownloadButton(
                "Download", visible=False, size="md", min_width=100, elem_id="history-download"
            )
            self.delete = gr.Button("Delete", size="md", min_width=80, elem_id="history-delete")
        with gr.Row(visible=False, elem_classes=["actions"]) as self.sure:
            self.really = gr.Button("Delete for good", variant="stop", elem_id="history-really")
            self.keep = gr.Button("Keep it", elem_id="history-keep")
        self.says = gr.HTML("", elem_id="history-says")
        with gr.Accordion("Recipe", open=False, visible=False, elem_id="history-recipe") as self.folded:
            self.recipe = gr.JSON(label="Recipe", show_label=False)

    @property
    def _one(self) -> list[Any]:
        return [
            self.title, self.video, self.still, self.actions, self.sure, self.download, self.send, self.says,
            self.folded, self.recipe, self.picked,
        ]  # fmt: skip

    @property
    def _list(self) -> list[Any]:
        return [self.cards, self.newer, self.older, self.pages]

    def wire(self, tab: gr.Tab, selected: gr.Tabs) -> None:
        """Connects the events.

        Args:
            tab: this tab: the list is read anew whenever it is opened.
            selected: the tabs, to open another one.
        """
        self.selected = selected
        tab.select(lambda: self._page([]), None, self._list, **PRIVATE)
        self.older.click(self._turn_older, [self.pages], self._list, **PRIVATE)
        self.newer.click(lambda pages: self._page(pages[:-1]), [self.pages], self._list, **PRIVATE)
        self.cards.select(self._pick, None, self._one, **PRIVATE)
        self.delete.click(lambda: gr.update(visible=True), None, [self.sure], **PRIVATE)
        self.keep.click(lambda: HIDDEN, None, [self.sure], **PRIVATE)
        self.really.click(self._delete, [self.picked, self.pages], [*self._one, *self._list], **PRIVATE)
        forms = [c for t in self.tabs.values() for c in t.form.outputs]
        self.send.click(self._send, [self.picked], [selected, self.says, *forms], **PRIVATE)
        wanted = [c for t in self.tabs.values() for c in (t.wanted, t.last)]
        again = self.rerun.click(
            self._rerun, [self.picked], [selected, self.says, *wanted], trigger_mode="once", **PRIVATE
        )
        for mode_tab in self.tabs.values():
            mode_tab.watch_after(again)

    # -- the list

    def _page(self, pages: list[float]) -> dict[Any, Any]:
        before = pages[-1] if pages else None
        jobs = self.studio.history(limit=PAGE + 1, before=before)
        return {
            self.cards: cards(jobs[:PAGE]),
            self.newer: gr.update(interactive=bool(pages)),
            self.older: gr.update(interactive=len(jobs) > PAGE),
            self.pages: pages,
        }

    def _turn_older(self, pages: list[float]) -> dict[Any, Any]:
        jobs = self.studio.history(limit=PAGE, before=pages[-1] if pages else None)
        return self._page([*pages, jobs[-1].created_at] if jobs else pages)

    # -- one job

    def _pick(self, event: gr.SelectData) -> dict[Any, Any]:
        job = find_job(self.studio, str(event.value))
        return self._show(job) if job else self._nothing("This clip is not there any more.")

    def _show(self, job: Job) -> dict[Any, Any]:
        clip = job.files[0] if job.files and Path(job.files[0]).is_file() else None
        playable = bool(clip) and Path(clip).suffix in (".mp4", ".webm")
        head = f'<h3>{escape(say.title_of(job))}</h3><p class="quiet">{escape(say.ago(job.created_at))}</p>'
        return {
            self.title: head + (say.status(job) if job.open else say.ended(job)),
            self.video: gr.update(value=clip if playable else None, visible=playable),
            self.still: gr.update(
                value=still(job) if clip and not playable else "", visible=bool(clip and not playable)
            ),
            self.actions: gr.update(visible=True),
            self.sure: HIDDEN,
            self.download: gr.update(value=clip, visible=bool(clip)),
            self.send: gr.update(interactive=job.mode in self.tabs),
            self.says: "",
            self.folded: gr.update(visible=True),
            self.recipe: self._recipe_of(job, clip),
            self.picked: job.id,
        }

    def _recipe_of(self, job: Job, clip: str | None) -> dict[str, Any]:
        try:
            return dict(self.studio.recipe(Path(clip))) if clip else dict(job.request)
        except StudioError:
            return dict(job.request)

    def _nothing(self, sentence: str) -> dict[Any, Any]:
        return {
            self.title: f'<p class="quiet">{escape(sentence)}</p>',
            self.video: gr.update(value=None, visible=False),
            self.still: HIDDEN,
            self.actions: HIDDEN,
            self.sure: HIDDEN,
            self.says: "",
            self.folded: HIDDEN,
            self.picked: "",
        }

    def _delete(self, picked: str, pages: list[float]) -> dict[Any, Any]:
        try:
            self.studio.delete(picked)
        except StudioError as e:
            return {self.says: say.message(e.message, e.remedy, tone="bad"), self.sure: HIDDEN}
        return {**self._nothing("Deleted."), **self._page(pages)}

    def _send(self, picked: str) -> dict[Any, Any]:
        job = find_job(self.studio, picked)
        if job is None or job.mode not in self.tabs:
            return {self.says: say.message("This clip is not there any more.", tone="bad")}
        return {self.selected: gr.update(selected=job.mode), **self.tabs[job.mode].form.fill(job.request)}

    def _rerun(self, picked: str) -> dict[Any, Any]:
        try:
            job = self.studio.rerun(picked)
        except StudioError as e:
            return {self.says: say.message(e.message, e.remedy, tone="bad")}
        tab = self.tabs[job.mode]
        return {self.selected: gr.update(selected=job.mode), tab.wanted: job.id, tab.last: job.id, self.says: ""}


def cards(jobs: list[Job]) -> str:
    """The jobs as buttons with their posters."""
    if not jobs:
        return '<p class="quiet">Nothing has been made yet.</p>'
    return '<div class="cards">' + "".join(_card(job) for job in jobs) + "</div>"


def _card(job: Job) -> str:
    there = job.poster and Path(job.poster).is_file()
    poster = f'<img src="{escape(file_url(job.poster))}" alt="" loading="lazy">' if there else "<span></span>"
    state = say.STATES[job.state]
    return (
        f'<button type="button" class="card {job.state}" data-job="{escape(job.id)}">{poster}'
        f"<strong>{escape(say.title_of(job))}</strong>"
        f'<small><em class="state">{state}</em> {escape(say.ago(job.created_at))}</small></button>'
    )

"""`ModelsTab`: which variants there are, where their weights lie, what is in memory; and fetching and removing them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from studio.errors import Cancelled, StudioError
from studio.jobs.ledgers import ask_unload, read_ledgers
from studio.service import Studio, VariantStatus
from studio.ui import ledger, say
from studio.ui.mode_form import how_to_install
from studio.ui.mode_tab import PRIVATE

POLL_S = 0.5


@dataclass
class _Pull:
    """A download as its thread last told it; `error` is set once it failed, `over` in any case."""

    file: str = ""
    done: int = 0
    total: int = 0
    error: StudioError | None = None
    over: bool = False
    stop: bool = False

    def report(self, file: str, done: int, total: int) -> None:
        if self.stop:
            raise Cancelled("The download was stopped; what is here already is kept for the next try.")
        self.file, self.done, self.total = file, done, total


class ModelsTab:
    """Build it inside an open tab, then `wire` it. A download goes on when the page is closed, and is found again."""

    def __init__(self, studio: Studio, stopping: threading.Event) -> None:
        self.studio, self.stopping = studio, stopping
        self._pulls: dict[str, _Pull] = {}
        self._lock = threading.Lock()
        self.list = gr.HTML("", elem_id="models-list")
        with gr.Row(elem_classes=["actions"], equal_height=False):
            self.choice = gr.Dropdown([], label="Model", elem_id="models-choice", filterable=False, scale=2)
            with gr.Column(scale=3, min_width=320):
                with gr.Row(elem_classes=["actions"]):
                    self.pull = gr.Button("Install", variant="primary", elem_id="models-pull", size="md", min_width=110)
                    self.stop = gr.Button("Stop", interactive=False, elem_id="models-stop", size="md", min_width=110)
                    self.remove = gr.Button("Remove", elem_id="models-remove", size="md", min_width=110)
                with gr.Row(visible=False, elem_classes=["actions"]) as self.sure:
                    self.really = gr.Button("Remove the files", variant="stop", elem_id="models-really")
                    self.keep = gr.Button("Keep them", elem_id="models-keep")
        self.says = gr.HTML("", elem_id="models-says")
        gr.HTML('<h3 class="group">In memory</h3>')
        self.ledger = gr.HTML("", elem_id="models-ledger")
        with gr.Row(elem_classes=["actions"]):
            self.refresh = gr.Button("Refresh", elem_id="models-refresh", size="md", min_width=110)
            self.unload = gr.Button("Unload what is idle", elem_id="models-unload", size="md", min_width=190)

    def wire(self, tab: gr.Tab) -> None:
        """Connects the events; the list is read anew whenever the tab is opened."""
        shown = [self.list, self.choice, self.pull, self.remove, self.stop, self.sure, self.says, self.ledger]
        opened = tab.select(self._open, [self.choice], shown, **PRIVATE)
        opened.then(self._follow, [self.choice], shown, trigger_mode="multiple", **PRIVATE)
        picked = self.choice.input(self._open, [self.choice], shown, **PRIVATE)
        picked.then(self._follow, [self.choice], shown, trigger_mode="multiple", **PRIVATE)
        started = self.pull.click(self._start, [self.choice], None, trigger_mode="once", **PRIVATE)
        started.then(self._follow, [self.choice], shown, trigger_mode="multiple", **PRIVATE)
        self.stop.click(self._stop, [self.choice], None, **PRIVATE)
        self.remove.click(lambda: gr.update(visible=True), None, [self.sure], **PRIVATE)
        self.keep.click(lambda: gr.update(visible=False), None, [self.sure], **PRIVATE)
        self.really.click(self._remove, [self.choice], shown, **PRIVATE)
        self.refresh.click(self._open, [self.choice], shown, **PRIVATE)
        self.unload.click(self._unload, [self.choice], shown, **PRIVATE)

    def _open(self, choice: str | None, says: str = "") -> dict[Any, Any]:
        """The tab as things stand now."""
        found = self.studio.variants()
        weighty = [v for v in found if not v.spec.bundled and v.spec.shipped is None]
        ids = [v.spec.id for v in weighty]
        choice = choice if choice in ids else next(iter(ids), None)
        chosen = next((v for v in weighty if v.spec.id == choice), None)
        busy = self._busy(choice) is not None
        return {
            self.list: table(found),
            self.choice: gr.update(choices=[(v.spec.title, v.spec.id) for v in weighty], value=choice),
            self.pull: gr.update(interactive=bool(chosen and not chosen.usable and chosen.download_bytes and not busy)),
            self.remove: gr.update(interactive=bool(chosen and chosen.where and not busy)),
            self.stop: gr.update(interactive=busy),
            self.sure: gr.update(visible=False),
            self.says: says,
            self.ledger: ledger.ledgers(read_ledgers(self.studio.settings.home)),
        }

    def _busy(self, variant: str | None) -> _Pull | None:
        pull = self._pulls.get(variant or "")
        return pull if pull is not None and not pull.over else None

    def _start(self, variant: str | None) -> None:
        with self._lock:
            if not variant or self._busy(variant):
                return
            pull = self._pulls[variant] = _Pull()
        threading.Thread(target=self._fetch, args=(variant, pull), name=f"pull {variant}", daemon=True).start()

    def _fetch(self, variant: str, pull: _Pull) -> None:
        try:
            self.studio.pull(variant, pull.report)
        except StudioError as e:
            pull.error = e
        finally:
            pull.over = True

    def _stop(self, variant: str | None) -> None:
        pull = self._busy(variant)
        if pull is not None:
            pull.stop = True

    async def _follow(self, variant: str | None) -> AsyncIterator[dict[Any, Any]]:
        """The progress of that variant's download, and how it ended; nothing where there is none."""
        pull = self._pulls.get(variant or "")
        if pull is None:
            yield {self.says: gr.skip()}
            return
        while not pull.over:
            if self.stopping.is_set():
                return
            yield {
                self.says: progress(pull),
                self.pull: gr.update(interactive=False),
                self.stop: gr.update(interactive=True),
            }
            await asyncio.sleep(POLL_S)
        self._pulls.pop(variant or "", None)
        e = pull.error
        says = say.message(e.message, e.remedy, tone="bad") if e else say.message("Installed.", tone="good")
        yield await asyncio.to_thread(self._open, variant, says)

    def _remove(self, variant: str | None) -> dict[Any, Any]:
        try:
            self.studio.remove(variant or "")
        except StudioError as e:
            return self._open(variant, say.message(e.message, e.remedy, tone="bad"))
        return self._open(variant, say.message("Removed.", tone="good"))

    def _unload(self, variant: str | None) -> dict[Any, Any]:
        asked = ask_unload(self.studio.settings.home, within_s=5)
        freed = sum(told["freed_bytes"] or 0 for told in asked)
        says = f"{say.size(freed)} are free again." if freed else "Nothing idle was in memory."
        if any(told["freed_bytes"] is None for told in asked):
            says = "A job runs; what is idle then is dropped when it ends."
        return self._open(variant, say.message(says, tone="good"))


def progress(pull: _Pull) -> str:
    """A download's line and bar."""
    part = pull.done / pull.total if pull.total else 0.0
    says = f"{escape(pull.file)} · {say.size(pull.done)} of {say.size(pull.total)}" if pull.total else "Asking for it"
    return (
        f'<div class="job-status"><p><strong>Fetching</strong> <span>{says}</span></p>'
        f'<progress max="1" value="{part:.4f}" aria-label="Fetching"></progress></div>'
    )


def table(found: list[VariantStatus]) -> str:
    """All variants, each with what there is to know."""
    return '<div class="models">' + "".join(_row(v) for v in found) + "</div>"


def _state(v: VariantStatus) -> str:
    if v.spec.bundled:
        return "Embedded"
    if v.spec.shipped is not None:
        return "Trained by the studio" if v.usable else "Not trained yet"
    return "Installed" if v.usable else "Not installed"


def _row(v: VariantStatus) -> str:
    state = _state(v)
    facts = []
    if v.where and not v.spec.bundled:
        facts.append(("Where", f"<code>{escape(v.where)}</code>, {say.size(v.disk_bytes)}"))
    if v.usable:
        facts.append(("Licence", say.licence(v.spec)))
    facts.extend(("Besides", escape(e.says)) for e in v.extras)
    resident = sum(v.resident.values())
    if resident:
        parts = ", ".join(f"{escape(c)} {say.size(b)}" for c, b in v.resident.items())
        facts.append(("On the device", f"{say.size(resident)} ({parts})"))
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
    more = "" if v.usable else how_to_install(v)
    return (
        f'<section class="model {"ready" if v.usable else "missing"}"><h3>{escape(v.spec.title)} '
        f'<span class="tag">{state}</span></h3><p>{escape(v.spec.summary)}</p><dl>{rows}</dl>{more}</section>'
    )

"""`ModeTab`: a mode's form and its result, and what happens between them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import NotInstalled, StudioError
from studio.modes import Mode
from studio.service import Studio
from studio.ui import say
from studio.ui.examples import ExampleRow
from studio.ui.mode_form import CLEAR_JS, ModeForm
from studio.ui.panels import panel_for
from studio.ui.watch import ResultPanel, find_job, stills

PLAY_JS = "() => { window.studioPage?.play() }"
"""Starts the finished clip, unless the system asks for less motion."""

PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""For every handler that only the page needs."""


class ModeTab:
    """One mode's tab. Build it inside open Blocks, then call `wire` once all tabs stand.

    Args:
        stopping: set once the studio is about to go; whoever watches a job then says so and ends.
    """

    def __init__(self, studio: Studio, mode: Mode, uploads: Path, stopping: threading.Event) -> None:
        self.studio, self.mode = studio, mode
        name = mode.id
        self.wanted = gr.State("")
        self.last = gr.BrowserState("", storage_key=f"svd-studio.{name}.job", secret="svd-studio", render=False)
        with gr.Row(equal_height=False, elem_classes=["bench"]):
            with gr.Column(scale=5, min_width=320, elem_classes=["asks"]):
                self.form = ModeForm(studio, mode, uploads)
                self.more = panel_for(studio, mode, uploads)
                self.more.draw_asks(self.form)
                self.resume = gr.Button("Resume", visible="hidden", elem_id=f"{name}-resume", elem_classes=["resume"])
            with gr.Column(scale=6, min_width=320, elem_classes=["answers"]):
                self.panel = ResultPanel(studio, name, "The clip appears here.", self.form.cancel, stopping, self.more)

        self.examples = ExampleRow(studio, mode)

    def wire(self, demo: gr.Blocks, opened: Any) -> None:
        """Connects the events.

        Args:
            opened: the event of this tab being shown; what only matters then waits for it.
        """
        f, p = self.form, self.panel
        self.examples.wire(f, **PRIVATE)
        models, switches = list(f.models.values()), list(f.switches.values())
        for switch, control in f.switches.items():
            f.touched(control)(f.follower(switch), switches, f.outputs, **PRIVATE)
        if f.presets:
            f.preset.input(f.apply_preset, [f.preset, *switches], f.outputs, **PRIVATE)
        if "speed" in f.controls:
            speed = f.controls["speed"]
            f.touched(speed)(f.hurry, [speed, *switches], f.outputs, **PRIVATE)
        f.reuse.click(self._reuse, [self.wanted], [f.seed, f.dice], **PRIVATE)
        f.seed.input(lambda: False, None, [f.dice], **PRIVATE)
        for name, control in f.controls.items():
            f.touched(control)(None, None, [f.wrongs[name]], js=CLEAR_JS, **PRIVATE)
        moving = [f.controls[e.name].change for e in f.entries if e.listeners is not None or e.name in f.switches]
        gr.on(
            [opened, *moving],
            self._plan,
            f.inputs,
            [f.plan],
            preprocess=False,
            trigger_mode="always_last",
            **PRIVATE,
        )
        self.submit_with(f.run, {})
        self.more.wire(self, opened)
        f.cancel.click(self._cancel, [self.wanted], [p.status], **PRIVATE)
        watched = [*p.outputs, f.seed]
        self.resume.click(self._watch, [self.wanted], watched, trigger_mode="multiple", **PRIVATE)
        arrived = demo.load(self._arrive, [self.last], [self.wanted, *models], **PRIVATE)
        self.watch_after(arrived)

    def submit_with(self, button: gr.Button, stands: Mapping[str, Any]) -> None:
        """Lets the button submit what the form says.

        Args:
            stands: request fields that stand instead of the form's.
        """
        f, p = self.form, self.panel

        async def submit(request: gr.Request, dice: Any, *raw: Any) -> dict[Any, Any]:
            return await self._submit(stands, request.session_hash or "", dice, *raw)

        asked = button.click(
            submit, f.inputs, [*f.outputs, *p.outputs, self.wanted, self.last],
            preprocess=False, trigger_mode="once", **PRIVATE,
        )  # fmt: skip
        self.watch_after(asked)

    def wire_stills(self, selected: gr.Tabs, animator: ModeTab) -> None:
        """Lets a picture that a job made be animated in another tab.

        Args:
            selected: the tabs, to open another one.
        """
        p, form = self.panel, animator.form

        def choose(event: gr.SelectData) -> int:
            return int(event.index)

        p.stills.select(choose, None, [p.chosen], **PRIVATE)

        def send(wanted: str, chosen: int) -> dict[Any, Any]:
            job = find_job(self.studio, wanted)
            found = stills(job) if job is not None else []
            if not found:
                return {p.status: say.message("The picture is not there any more.", tone="bad")}
            request = {**form.first(), "image": str(found[min(int(chosen), len(found) - 1)])}
            return {selected: gr.update(selected=animator.mode.id), **form.fill(request)}

        p.animate.click(send, [self.wanted, p.chosen], [selected, p.status, *form.outputs], **PRIVATE)

    def watch_after(self, event: Any) -> None:
        """Lets the panel follow the wanted job once `event` is over."""
        watched = [*self.panel.outputs, self.form.seed]
        event.then(self._watch, [self.wanted], watched, trigger_mode="multiple", **PRIVATE).then(
            None, None, None, js=PLAY_JS, **PRIVATE
        )

    async def _submit(self, stands: Mapping[str, Any], session: str, dice: Any, *raw: Any) -> dict[Any, Any]:
        f, p = self.form, self.panel
        wish: dict[str, Any] = {}
        try:
            wish = {**f.request(dice, *raw), **stands}
            job = await asyncio.to_thread(self.studio.submit, wish, session=session)
        except NotInstalled as e:
            says = say.message(*f.missing(e, wish), tone="bad")
            return {**f.content(), **p.empty(), p.status: says, self.wanted: ""}
        except StudioError as e:
            says = say.message(f.in_labels(e), e.remedy, tone="bad")
            return {**f.complain(e), **p.empty(), p.status: says, self.wanted: ""}
        return {**f.content(), self.wanted: job.id, self.last: job.id}

    async def _watch(self, wanted: str, request: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        """The panel's updates; and the seed that is really used, in its field."""
        if not wanted:
            yield {self.panel.status: gr.skip()}
            return
        job = await asyncio.to_thread(find_job, self.studio, wanted)
        seed = {self.form.seed: job.request["seed"]} if job is not None and "seed" in job.request else {}
        async for shown in self.panel.attach(wanted, request.session_hash or ""):
            yield {**shown, **seed}
            seed = {}

    def _arrive(self, last: str) -> dict[Any, Any]:
        """What a page that was just opened looks at: this browser's last job, else the one that runs."""
        self.form.refresh()
        job = find_job(self.studio, last)
        if job is None or job.state == "cancelled":
            running = self.studio.history(limit=1, states=("running", "queued"), mode=self.mode.id)
            job = running[0] if running else None
        return {
            self.wanted: job.id if job else "",
            **{m: gr.update(choices=self.form.variant_choices(role)) for role, m in self.form.models.items()},
        }

    def _cancel(self, wanted: str) -> Any:
        try:
            self.studio.cancel(wanted)
        except StudioError as e:
            return say.message(e.message, e.remedy, tone="bad")
        return gr.skip()

    def _reuse(self, wanted: str) -> tuple[Any, Any]:
        job = find_job(self.studio, wanted)
        if job is None or "seed" not in job.request:
            return gr.skip(), gr.skip()
        return job.request["seed"], False

    def _plan(self, dice: Any, *raw: Any) -> str:
        """What the request will take, in one line; or why it can't be."""
        try:
            plan = self.studio.plan(self.form.request(dice, *raw, complete=False))
        except StudioError as e:
            return f'<p class="unfit">{escape(f"{self.form.in_labels(e)} {e.remedy}")}</p>'
        return say.plan(plan.says, fits=plan.fits)

"""Interpolate's tab: before and after side by side, the cuts that were found, the rates in one line."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.jobs.inputs import find_input
from studio.jobs.job import Job
from studio.ui.files import file_url
from studio.ui.panels import Panel

_PLAYABLE = (".mp4", ".webm")
_MOST_CUTS = 30


class Tab(Panel):
    """Build it with a tab; see `Panel`."""

    def draw_answers(self) -> None:
        """Draws the pair and what was found."""
        self.pair = gr.HTML("", visible=False, elem_id=f"{self.name}-pair")
        self.found = gr.HTML("", visible=False, elem_id=f"{self.name}-found")

    @property
    def outputs(self) -> list[Any]:
        """What `show` and `hide` write to."""
        return [self.pair, self.found]

    def show(self, job: Job) -> dict[Any, Any]:
        """Updates for a clip that is done."""
        try:
            facts = self.studio.recipe(Path(job.files[0])).get("facts", {}).get("interpolation", {})
        except (StudioError, IndexError):
            return self.hide()
        before = self._before(job)
        return {
            self.pair: gr.update(
                value=side_by_side(before, Path(job.files[0])) if before else "", visible=bool(before)
            ),
            self.found: gr.update(value=findings(facts), visible=bool(facts)),
        }

    def _before(self, job: Job) -> Path | None:
        try:
            return (
                find_input(str(job.request["clip"]), self.studio.settings.inputs) if job.request.get("clip") else None
            )
        except StudioError:
            return None


def side_by_side(before: Path, after: Path) -> str:
    """Both clips; `page.js` keeps them in step."""
    return f'<div class="pair">{_figure(before, "Before")}{_figure(after, "After")}</div>'


def _figure(path: Path, title: str) -> str:
    url = escape(file_url(path))
    shown = (
        f'<video src="{url}" controls loop muted playsinline preload="metadata" aria-label="{title}"></video>'
        if path.suffix in _PLAYABLE
        else f'<img src="{url}" alt="{title}">'
    )
    return f"<figure>{shown}<figcaption>{title}</figcaption></figure>"


def findings(facts: Mapping[str, Any]) -> str:
    """The rates, and where the picture cuts, so that no frame was put there."""
    said = f"<p><strong>{escape(str(facts.get('says', '')))}</strong></p>" if facts.get("says") else ""
    times = [f"{float(t):.2f} s" for t in facts.get("cut_times_s", ())]
    if times:
        more = f" and {len(times) - _MOST_CUTS} more" if len(times) > _MOST_CUTS else ""
        count = "1 cut" if len(times) == 1 else f"{len(times)} cuts"
        said += f"<p>{count}, kept hard: {escape(', '.join(times[:_MOST_CUTS]))}{more}.</p>"
    if facts.get("repeated"):
        said += f"<p>{int(facts['repeated'])} repeated frames were replaced by new ones.</p>"
    return said

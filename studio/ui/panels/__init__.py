"""What a mode's tab shows beyond its form and its clip: the ``Tab(Panel)`` in a module of the mode's name here."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.jobs.job import Job
from studio.modes import Mode
from studio.service import Studio

if TYPE_CHECKING:
    from studio.ui.mode_form import ModeForm
    from studio.ui.mode_tab import ModeTab

HIDDEN = gr.update(visible=False)


class Panel:
    """Nothing more: what most modes need. All that is drawn is drawn into the Blocks that are open.

    Args:
        uploads: the folder where Gradio puts what a browser uploads; what is made for a download goes there too.
    """

    def __init__(self, studio: Studio, mode: Mode, uploads: Path) -> None:
        self.studio, self.mode, self.name, self.uploads = studio, mode, mode.id, uploads

    def draw_asks(self, form: ModeForm) -> None:
        """Draws what stands under the form."""

    def draw_answers(self) -> None:
        """Draws what stands under the clip."""

    @property
    def outputs(self) -> list[Any]:
        """What `show` and `hide` write to."""
        return []

    def show(self, job: Job) -> dict[Any, Any]:
        """Updates for a job that is done."""
        return self.hide()

    def hide(self) -> dict[Any, Any]:
        """Updates for any other."""
        return dict.fromkeys(self.outputs, HIDDEN)

    def wire(self, tab: ModeTab, opened: Any) -> None:
        """Connects the events.

        Args:
            opened: the event of the tab being shown.
        """


def panel_for(studio: Studio, mode: Mode, uploads: Path) -> Panel:
    """The panel of that mode."""
    name = f"{__name__}.{mode.id.replace('-', '_')}"
    kind = importlib.import_module(name).Tab if importlib.util.find_spec(name) else Panel
    return kind(studio, mode, uploads)

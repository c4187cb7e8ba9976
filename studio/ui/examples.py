"""`ExampleRow`: pictures to begin with; a click puts a whole request into the form."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.modes import Mode
from studio.service import Studio
from studio.ui.mode_form import ModeForm


class ExampleRow:
    """The shipped requests of one mode, as thumbnails of their first picture. Build it inside open Blocks."""

    def __init__(self, studio: Studio, mode: Mode) -> None:
        self._requests = list(studio.examples(mode.id).values())
        first = next(iter(mode.inputs), None)
        self.row = gr.Dataset(
            components=[gr.Image(render=False, type="filepath")],
            samples=[[request[first]] for request in self._requests] if first else [],
            type="index",
            label="Examples",
            samples_per_page=12,
            elem_id=f"{mode.id}-examples",
            visible=bool(first and self._requests),
        )

    def wire(self, form: ModeForm, **options: Any) -> None:
        """Connects the click.

        Args:
            options: of the event, as Gradio takes them.
        """
        self.row.click(lambda index: form.fill(self._requests[index]), [self.row], form.outputs, **options)

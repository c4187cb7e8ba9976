"""`ExampleRow`: pictures to begin with; a click puts a whole request into the form."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.modes import Mode
from studio.service import Studio
from studio.ui.mode_form import ModeForm


class ExampleRow:
    """The shipped requests of one mode, as thumbnails of their first picture, or else by their prompts.

    Build it inside open Blocks.
    """

    def __init__(self, studio: Studio, mode: Mode) -> None:
        self._requests = list(studio.examples(mode.id).values())
        picture = next(iter(mode.inputs), None)
        first = picture or ("prompt" if "prompt" in mode.request.model_fields else None)
        shown = gr.Image(render=False, type="filepath") if picture else gr.Textbox(render=False)
        self.row = gr.Dataset(
            components=[shown],
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

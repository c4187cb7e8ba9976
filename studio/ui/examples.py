"""`ExampleRow`: pictures to begin with; a click puts a whole request into the form."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.modes import Mode
from studio.service import Studio
from studio.ui.form import in_words
from studio.ui.mode_form import ModeForm


class ExampleRow:
    """The shipped requests of one mode, as thumbnails of their first picture, or else by their prompts or names.

    Build it inside open Blocks.
    """

    def __init__(self, studio: Studio, mode: Mode) -> None:
        named = studio.examples(mode.id)
        self._requests = list(named.values())
        fields = mode.request.model_json_schema()["properties"]
        first = next(iter(mode.inputs), "prompt")
        picture = fields.get(first, {}).get("control") == "picture"
        shown = gr.Image(render=False, type="filepath") if picture else gr.Textbox(render=False)
        said = picture or first == "prompt"
        self.row = gr.Dataset(
            components=[shown],
            samples=[[request[first] if said else in_words(name)] for name, request in named.items()],
            type="index",
            label="Examples",
            samples_per_page=12,
            elem_id=f"{mode.id}-examples",
            visible=bool(named),
        )

    def wire(self, form: ModeForm, **options: Any) -> None:
        """Connects the click.

        Args:
            options: of the event, as Gradio takes them.
        """
        self.row.click(lambda index: form.fill(self._requests[index]), [self.row], form.outputs, **options)

"""`build_page`: the whole page as Gradio Blocks: a tab a mode, the history, the models, and the endpoints."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from studio.service import Studio
from studio.ui.api import add_endpoints
from studio.ui.history import HistoryTab
from studio.ui.mode_tab import ModeTab
from studio.ui.models_tab import ModelsTab

TITLE = "SVD Studio"
WAITING = 256
"""Events of all pages that may wait at once; no event holds up another, so this is only reached under a flood."""

_MASTHEAD = (
    '<header class="masthead"><h1>SVD Studio</h1>'
    "<p>Short clips from a picture or a sentence, made on this machine.</p></header>"
)
_HELP = '<p class="help"><kbd>Ctrl</kbd> <kbd>Enter</kbd> runs, <kbd>Esc</kbd> cancels.</p>'


@dataclass(frozen=True)
class Page:
    """The Blocks to launch, and the parts that were drawn into them; `tabs` by mode."""

    blocks: gr.Blocks
    tabs: Mapping[str, ModeTab]
    history: HistoryTab
    models: ModelsTab


def build_page(studio: Studio, *, uploads: Path, stopping: threading.Event) -> Page:
    """A page ready to launch (see `studio.ui.launch`, which also sets what belongs to the server).

    Args:
        uploads: the folder where Gradio puts what a browser uploads.
        stopping: set it before the server is closed: pages and callers that wait for a job are told.
    """
    settings = studio.settings
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 86400)) as demo:
        gr.HTML(_MASTHEAD)
        tabs: dict[str, ModeTab] = {}
        opened: dict[str, gr.Tab] = {}
        with gr.Tabs(elem_id="tabs") as selected:
            for mode in studio.modes().values():
                with gr.Tab(mode.title, id=mode.id) as opened[mode.id]:
                    tabs[mode.id] = ModeTab(studio, mode, uploads, stopping)
            with gr.Tab("History", id="history") as history_tab:
                history = HistoryTab(studio, tabs)
            with gr.Tab("Models", id="models") as models_tab:
                models = ModelsTab(studio, stopping)
        gr.HTML(_HELP)
        for i, (mode_id, tab) in enumerate(tabs.items()):
            tab.last.render()  # out here: the page reads none in a tab that is not open yet (Gradio 6.31)
            tab.wire(demo, demo.load if i == 0 else opened[mode_id].select)
            tab.wire_stills(selected, tabs["image-to-video"])
        history.wire(history_tab, selected)
        models.wire(models_tab)
        add_endpoints(studio, (uploads, settings.inputs, settings.outputs), stopping)
    demo.queue(max_size=WAITING, default_concurrency_limit=None, api_open=False)
    return Page(demo, tabs, history, models)

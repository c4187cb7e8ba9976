"""What all commands share: settings from the options before the command, the studio on them, output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from studio.service import Studio
from studio.settings import Settings, read_settings

err = Console(stderr=True, highlight=False)
out = Console(highlight=False)

VRAM_HELP = "high, normal, low, none: how much of the weights stays on the device; auto: the quickest plan that fits."

Json = Annotated[bool, typer.Option("--json", help="Print plain data on stdout.")]
given: dict[str, Any] = {}
"""The options before the command, by the settings' names; None where not given."""


def chosen_settings(**more: Any) -> Settings:
    """The settings of this command."""
    return read_settings(**{**given, **more})


@contextmanager
def open_studio(**more: Any) -> Iterator[Studio]:
    """The studio on the settings of this command."""
    with Studio(chosen_settings(**more)) as studio:
        yield studio


def print_json(data: Any) -> None:
    """Prints plain data on stdout."""
    print(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def escape(text: str) -> str:
    """The text with nothing in it that rich takes for markup."""
    return text.replace("[", r"\[")

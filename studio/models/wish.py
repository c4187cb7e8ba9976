"""Wishes: what a request says, as the planner and the engines read it."""

from __future__ import annotations

from typing import Any


class Changed:
    """A wish with some of its fields changed, or said where the request does not say them."""

    def __init__(self, wish: Any, **changed: Any) -> None:
        self._wish = wish
        self.__dict__.update(changed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wish, name)

"""Cut-outs without a network: an even backdrop by its colour; any other by GrabCut from the border, a guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from studio.media.backdrop import GUESSED, guess_object, plain_background
from studio.models.spec import VariantSpec

if TYPE_CHECKING:
    from studio.context import Context

COMPONENTS: tuple[str, ...] = ()


def open_weights(component: str, installed: Any, device: str, dtype: str) -> Any:
    """Nothing: the family holds nothing on a device."""
    raise AssertionError(component)


class Engine:
    """Cuts out what stands before a backdrop; holds nothing on any device."""

    def __init__(self, spec: VariantSpec, components: Any) -> None:
        self._spec = spec

    def cut_out(self, pixels: np.ndarray, ctx: Context) -> np.ndarray:
        """The object's alpha, uint8 (H, W); a notice tells where it is a guess.

        Args:
            pixels: uint8 (H, W, 3).
        """
        ctx.step(0, 1, "cut-out")
        alpha = plain_background(pixels)
        if alpha is None:
            ctx.notice(GUESSED)
            alpha = guess_object(pixels)
        ctx.step(1, 1, "cut-out")
        return alpha

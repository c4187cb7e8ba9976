"""ZeroGPU: only work that needs the device is run under ``spaces.GPU``, with a duration that fits it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from studio.models.catalog import Catalog

UNET_STEP_TFLOP = 159.9
"""One guided UNet step of SVD-XT, 25 frames of 1024x576 (counted on meta tensors)."""
DECODE_TFLOP = 173.6
"""Its temporal decode."""
_REFERENCE_PIXELS = 25 * 1024 * 576
_TFLOPS = 60.0
"""Cautious for half an RTX Pro 6000: a run that outlasts its duration is lost, quota counts what was used."""
_START_S = 25
_MOST_S = 240

Work = Callable[[str, str], Iterator[str]]


def duration_s(settings_json: str, task_json: str) -> int:
    """Seconds to ask ZeroGPU for; takes what the work itself takes."""
    request = json.loads(task_json)["request"]
    share = request["frames"] * request["width"] * request["height"] / _REFERENCE_PIXELS
    work = share * (UNET_STEP_TFLOP * request["steps"] + DECODE_TFLOP)
    return min(_MOST_S, _START_S + round(work / _TFLOPS))


def wrapper(catalog: Catalog, gpu: Callable[..., Any]) -> Callable[[Work], Work]:
    """For `Studio(wrap=...)`: sends a task to the device only if its variant has weights.

    Args:
        gpu: ``spaces.GPU``.
    """

    def wrap(work: Work) -> Work:
        on_device = gpu(duration=duration_s)(work)

        def choose(settings_json: str, task_json: str) -> Iterator[str]:
            variant = json.loads(task_json)["request"]["variant"]
            where = work if catalog.get(variant).bundled else on_device
            yield from where(settings_json, task_json)

        return choose

    return wrap

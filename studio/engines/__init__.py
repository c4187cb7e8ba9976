"""Engines: torch and diffusers behind capabilities; one module a family, named in a variant's yaml.

A family's module has

- ``COMPONENTS``: the names of what it holds on a device (``()`` where it holds nothing);
- ``open_weights(component, installed, device, dtype)``: the component's `studio.models.weights.Weights`, which the
  manager moves between file, host and device;
- where it has components made of convolutions, ``CHANNELS_LAST``: their names; for them ``open_weights`` takes a
  keyword of that name in small letters, which the manager gives where it was measured to be quicker;
- ``Engine(spec, components)``: a class with one method a capability, named by `METHODS`. ``run =
  components.start(request, ctx)`` makes the plan, ``run.phase(name, work)`` does a phase by it, again and leaner where
  memory runs out; in it, `components.use(*names, phase=...)` is a context manager that gives those components on the
  device. `components.device` and `components.dtype` say where and in what ("bf16", "fp16" or "fp32");
  `components.tuned`, `components.compiling` and `components.compiled_dir` are for `studio.engines.kernels`.

What a request costs a family that has weights stands in `studio/models/costs/`, in a module of the same name.

The module is imported by name on the first lease, never before.
"""

from __future__ import annotations

import importlib
from types import ModuleType

METHODS = {
    "image-to-video": "animate",
    "text-to-image": "paint_all",
    "refine": "refine_all",
    "text-to-video": "film",
    "multiview": "orbit",
    "cut-out": "cut_out",
    "interpolate": "fill",
    "in-between": "bridge",
}
"""Capability -> method of `Engine`."""


def family_module(family: str) -> ModuleType:
    """The module of that family."""
    return importlib.import_module(f"studio.engines.{family}")

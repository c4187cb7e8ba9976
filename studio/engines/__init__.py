"""Engines: torch and diffusers behind capabilities; one module a family, named in a variant's yaml.

A family's module has

- ``COMPONENTS``: the names of what it holds on a device (``()`` where it holds nothing);
- ``load(component, installed, device, dtype, report)``: builds one component from the installed weights,
  straight to its place, calling ``report(done_bytes, total_bytes)`` often: that is where a load is cancelled;
- ``Engine(spec, components)``: a class with one method a capability, named by `METHODS`. `components.use(*names,
  phase=...)` is a context manager that gives those components on the device; `components.device` and
  `components.dtype` say where and in what ("fp16" or "fp32").

The module is imported by name on the first lease, never before.
"""

from __future__ import annotations

import importlib
from types import ModuleType

METHODS = {"image-to-video": "animate"}
"""Capability -> method of `Engine`."""


def family_module(family: str) -> ModuleType:
    """The module of that family."""
    return importlib.import_module(f"studio.engines.{family}")

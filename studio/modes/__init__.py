"""The modes: one file each. Adding one means adding a file here and, for its variants, yaml files."""

from studio.modes.mode import Mode, Result, all_modes
from studio.modes.request import Request

__all__ = ["Mode", "Request", "Result", "all_modes"]

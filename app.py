"""Opens SVD Studio in the browser: `python app.py`, then the address that it prints."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from studio.errors import StudioError
from studio.settings import Settings, read_settings

OPTIONS = (
    "host", "port", "home", "models_dir", "comfyui_dir", "device", "precision", "vram", "vram_budget", "ram_budget",
)  # fmt: skip
SPACE = {"STUDIO_HOST": "0.0.0.0", "STUDIO_PORT": "7860"}
"""What Hugging Face Spaces expects of an app, where nothing else was said."""


def read_arguments(arguments: Sequence[str] | None = None) -> Settings:
    """The settings of this start, from the command line and the ``STUDIO_*`` variables.

    Raises:
        BadInput: names the option or variable whose value won't do.
    """
    parser = argparse.ArgumentParser(
        description="SVD Studio: short clips from a picture or a sentence, on this machine.",
        epilog="Each option can also be given as a variable: STUDIO_HOST, STUDIO_PORT, ... A password for the page: "
        "STUDIO_AUTH=user:password.",
    )
    for name in OPTIONS:
        parser.add_argument(f"--{name.replace('_', '-')}", help=Settings.model_fields[name].description)
    parser.add_argument("--share", action="store_true", default=None, help=Settings.model_fields["share"].description)
    given = vars(parser.parse_args(arguments))
    environ = {**SPACE, **os.environ} if os.environ.get("SPACE_ID") else os.environ
    return read_settings(environ, **given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until it is stopped; returns the exit code: 0, or 2 where an option or the machine won't do."""
    gpu = None
    if os.environ.get("SPACES_ZERO_GPU"):
        import spaces  # before anything that touches CUDA

        gpu = spaces.GPU
    try:
        settings = read_arguments(arguments)
        from studio.ui.launch import launch

        launch(settings, gpu=gpu)
    except StudioError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

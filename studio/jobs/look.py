"""Looks at the device in a process of its own, so that the page can plan for it before any job ran.

``python -m studio.jobs.look`` reads the settings as JSON and keeps what the device is (`studio.models.learned`). The
page's own process imports no torch.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import studio
from studio.errors import StudioError
from studio.jobs.workshop import Workshop
from studio.settings import Settings

log = logging.getLogger(__name__)

_ROOT = Path(studio.__file__).resolve().parent.parent
_MOST_S = 120


def look_in_background(settings: Settings) -> threading.Thread:
    """The thread that waits for the look; what goes wrong is logged, and the page plans without."""
    thread = threading.Thread(target=_look, args=(settings,), name="look at the device", daemon=True)
    thread.start()
    return thread


def _look(settings: Settings) -> None:
    try:
        subprocess.run(
            [sys.executable, "-m", "studio.jobs.look"],
            input=settings.model_dump_json().encode(),
            capture_output=True,
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)])},
            timeout=_MOST_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as e:
        log.info("the device could not be looked at: %s", e)


def main() -> int:
    """Exit code 0 where there is a device and it was written down."""
    manager = Workshop(Settings.model_validate_json(sys.stdin.buffer.read())).manager
    try:
        manager.learned.facts(manager.device)
    except StudioError as e:
        print(e.message, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

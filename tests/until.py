"""Waiting for what another thread or process does."""

import time


def until(true, within_s: float = 10) -> None:
    """Returns once `true()` is; fails where it is not in time."""
    deadline = time.monotonic() + within_s
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert true()

"""Gradio 6.31 leaves an event loop open for every app it builds without one; only here is that let pass."""

import asyncio
import gc
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LEAKS = ("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            for leak in LEAKS:
                item.add_marker(pytest.mark.filterwarnings(leak))


@pytest.fixture(autouse=True)
def _swept():
    yield
    asyncio.set_event_loop(None)
    gc.collect()

"""What several tests share: a photo, a home, a studio on it, and SVD at tiny size."""

import os
from pathlib import Path

# The tests run in as many processes as there are cores: threads of their own would only get in each other's way.
# Before torch is imported, and for the device processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from PIL import Image

from studio.models.cores import usable_cpus
from studio.service import Studio
from studio.settings import Settings
from tests.tiny import tiny_spec_yaml, write_tiny_svd


def pytest_xdist_auto_num_workers(config) -> int:
    """One more than there are cores: many tests wait for a browser or a process."""
    return usable_cpus() + 1


@pytest.fixture
def photo(tmp_path) -> Path:
    """A picture with something near, something far and some texture; 200x150."""
    y, x = np.mgrid[0:150, 0:200]
    pixels = np.stack([x, y * 255 // 150, 255 - x], axis=-1).astype(np.uint8)
    pixels[60:130, 70:130] = np.random.default_rng(0).integers(60, 200, (70, 60, 3))
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path / "home", device="cpu", runner="inline")


@pytest.fixture
def studio(settings):
    with Studio(settings) as studio:
        yield studio


@pytest.fixture(scope="session")
def tiny_weights_folder(tmp_path_factory) -> Path:
    return write_tiny_svd(tmp_path_factory.mktemp("weights") / "tiny-svd", frames=4)


@pytest.fixture
def tiny_svd(settings, tiny_weights_folder) -> str:
    """The id of a variant of the svd family that is installed in the home of `settings`."""
    tiny_spec_yaml("tiny-svd", settings.home / "configs" / "models", frames=4)
    settings.models.mkdir(parents=True)
    (settings.models / "tiny-svd").symlink_to(tiny_weights_folder)
    return "tiny-svd"


@pytest.fixture
def small(photo) -> dict:
    """A request that the embedded engine fulfils in a moment."""
    return {
        "mode": "image-to-video",
        "image": str(photo),
        "variant": "parallax",
        "width": 96,
        "height": 64,
        "frames": 4,
        "seed": 7,
    }

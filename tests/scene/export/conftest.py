import numpy as np
import pytest

from studio.scene.export.folder import export_all
from studio.scene.orbit import orbit_cameras, sine
from studio.scene.surface import Surface

SIZE = 96
FPS = 7.0
NAMES = [f"{index:02d}.png" for index in range(21)]

CORNERS = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.3, 0.3) for z in (-0.1, 0.1)])
_SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
FACES = np.array([t for a, b, c, d in _SIDES for t in ((a, b, c), (a, c, d))], np.int32)
COLOURS = np.array([(0, 20 + 30 * i, 255 - 30 * i) for i in range(8)], np.uint8)


@pytest.fixture(scope="session")
def cameras():
    return orbit_cameras(sine(10, 20), SIZE)


@pytest.fixture(scope="session")
def painted():
    """A box that is longest in x and lowest in z, with a colour a corner."""
    return Surface(CORNERS, FACES, colours=COLOURS)


@pytest.fixture(scope="session")
def textured():
    """The same box, its texture four pixels, one of which each pair of triangles shows."""
    middles = np.array([(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75), (0.25, 0.25), (0.75, 0.25)])
    wiggle = np.array([(-0.1, -0.1), (0.1, -0.1), (0.0, 0.1)])
    uv = (np.repeat(middles, 2, axis=0)[:, None] + wiggle).astype(np.float32)
    texture = np.array([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (90, 80, 70)]], np.uint8)
    return Surface(CORNERS, FACES, uv=uv, texture=texture)


@pytest.fixture(scope="session")
def folder(tmp_path_factory, painted, cameras):
    """All files of the painted box."""
    folder = tmp_path_factory.mktemp("painted")
    export_all(folder, painted, cameras, width=SIZE, height=SIZE, fps=FPS, frame_names=NAMES)
    return folder


@pytest.fixture(scope="session")
def textured_folder(tmp_path_factory, textured, cameras):
    """All files of the textured box."""
    folder = tmp_path_factory.mktemp("textured")
    export_all(folder, textured, cameras, width=SIZE, height=SIZE, fps=FPS, frame_names=NAMES)
    return folder

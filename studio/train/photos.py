"""`Photos`: the camera turning and zooming over real photographs, so that training sees more than toys.

Each is a window that goes over a photo; its flow is known exactly. Sources and licences are in
``examples/pictures/LICENCES.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "pictures"
"""Of the repository that training runs from."""

_SAID: dict[str, tuple[str, str]] = {
    "mountain-path.jpg": ("A path below rocky mountains.", "岩石山下的一条小路。"),
    "autumn-meadow.jpg": ("A meadow below mountains in autumn.", "秋天山下的草地。"),
    "dogs.jpg": ("Two dogs looking out of a window.", "两只狗望着窗外。"),
    "fig.jpg": ("Half a fig in a red bowl.", "红色碗里的半个无花果。"),
    "dandelion.jpg": ("Dandelions in the evening sun.", "夕阳下的蒲公英。"),
    "rocket.jpg": ("A rocket on its launch pad at dusk.", "傍晚发射台上的火箭。"),
}
"""Photo -> what it shows."""

_SPEED = 0.16
"""Of a window's side, that it goes a second at most."""


@dataclass(frozen=True, eq=False)
class PhotoClip:
    """One window's way over a photo.

    Args:
        frames: uint8 (T, 3, S, S).
        motion: mean length of the flow, pixels a frame at 256 pixels.
        caption, caption_zh: what the photo shows.
    """

    frames: torch.Tensor
    motion: float
    caption: str
    caption_zh: str


class Photos:
    """The photos of the examples, read when first asked for.

    Args:
        device: that clips are made on.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self._read: dict[str, torch.Tensor] = {}

    def there(self) -> bool:
        """Whether the photos are where the repository has them."""
        return all((FOLDER / name).is_file() for name in _SAID)

    def clip(self, dice: np.random.Generator, frames: int, fps: int, size: int) -> PhotoClip:
        """The window moves evenly and grows or shrinks; all of it stays on the photo."""
        name = str(dice.choice(list(_SAID)))
        photo = self._photo(name)
        height, width = photo.shape[2:]
        side = min(height, width)
        seconds = max(frames - 1, 1) / fps
        ends = dice.uniform(0.45, 0.95) * side * np.array([1.0, 1.0])
        zooms, goes = ((True, False), (False, True), (True, True))[int(dice.integers(3))]
        ends[1] *= dice.uniform(0.75, 1.3) ** min(1.0, seconds / 2) if zooms else 1.0
        ends = ends.clip(0.3 * side, side)
        shift = dice.uniform(-1, 1, 2) * _SPEED * seconds * ends[0] * goes
        room = (np.array([width, height])[None] - ends[:, None]) / 2
        first = dice.uniform(-1, 1, 2) * room[0]
        middles = np.stack([first, (first + shift).clip(-room[1], room[1])])
        p = np.linspace(0, 1, frames)[:, None]
        sides, at = ends[0] + (ends[1] - ends[0]) * p, middles[0] + (middles[1] - middles[0]) * p
        return PhotoClip(self._cut(photo, sides[:, 0], at, size), _motion(sides[:, 0], at), *_SAID[name])

    def _photo(self, name: str) -> torch.Tensor:
        """float32 (1, 3, H, W), levels."""
        if name not in self._read:
            picture = cv2.imread(str(FOLDER / name), cv2.IMREAD_COLOR)
            assert picture is not None, name
            rgb = np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1))
            self._read[name] = torch.from_numpy(rgb).float()[None].to(self.device)
        return self._read[name]

    def _cut(self, photo: torch.Tensor, sides: np.ndarray, at: np.ndarray, size: int) -> torch.Tensor:
        """uint8 (T, 3, S, S): square windows, each the mean of what its pixels cover."""
        height, width = photo.shape[2:]
        finer = int(np.clip(np.ceil(sides.max() / size), 1, 8))
        theta = np.zeros((len(sides), 2, 3))
        theta[:, 0, 0], theta[:, 1, 1] = sides / width, sides / height
        theta[:, :, 2] = 2 * at / np.array([width, height])
        cut = []
        for row in torch.from_numpy(theta).float().to(self.device):
            grid = affine_grid(row[None], (1, 3, finer * size, finer * size), align_corners=False)
            fine = grid_sample(photo, grid, padding_mode="border", align_corners=False)
            cut.append(torch.nn.functional.avg_pool2d(fine, finer)[0])
        return (torch.stack(cut) + 0.5).clamp(0, 255).to(torch.uint8)


def _motion(sides: np.ndarray, at: np.ndarray) -> float:
    """Mean length of the flow of windows of those sides round those middles, pixels a frame at 256 pixels."""
    if len(sides) < 2:
        return 0.0
    grid = (np.arange(16) + 0.5) / 16 - 0.5
    place = np.stack(np.meshgrid(grid, grid), axis=-1)
    on_photo = at[:-1, None, None] + sides[:-1, None, None, None] * place
    there = (on_photo - at[1:, None, None]) / sides[1:, None, None, None]
    return 256 * float(np.linalg.norm(there - place, axis=-1).mean())

"""`Take`: a scene, a camera and solids on the move; and `Stage`: the views of many takes as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from studio.scene.toybox.march import MATERIAL_SIZE, NO_PATTERN, PATTERN
from studio.scene.toybox.scene import Scene, extent, pack
from studio.scene.toybox.skies import FLOOR_KIND
from studio.train.fields import Fields, box_of


@dataclass(frozen=True, eq=False)
class Take:
    """What is filmed: a scene, and where everything is at each of T moments. S is the number of solids.

    Args:
        scene: its solids' own places are not looked at, only what they are.
        world_to_camera: float64 (T, 4, 4), rigid; a camera's axes are OpenCV's.
        focal: of a square picture, in its sides.
        feet: float64 (T, S, 3): the solids' feet.
        turns_deg: float64 (T, S): and their turns about the vertical.
    """

    scene: Scene
    world_to_camera: np.ndarray
    focal: float
    feet: np.ndarray
    turns_deg: np.ndarray

    def __post_init__(self) -> None:
        moments, solids = len(self.world_to_camera), len(self.scene.solids)
        assert self.world_to_camera.shape == (moments, 4, 4), self.world_to_camera.shape
        assert self.feet.shape == (moments, solids, 3), (self.feet.shape, moments, solids)
        assert self.turns_deg.shape == (moments, solids), (self.turns_deg.shape, moments, solids)

    def __len__(self) -> int:
        return len(self.world_to_camera)

    @staticmethod
    def still(scene: Scene, world_to_camera: np.ndarray, focal: float) -> Take:
        """The scene as it is, seen by cameras (T, 4, 4)."""
        feet = np.array([s.foot for s in scene.solids], np.float64).reshape(-1, 3)
        turns = np.array([s.turn_deg for s in scene.solids], np.float64)
        many = len(world_to_camera)
        return Take(scene, world_to_camera, focal, np.tile(feet, (many, 1, 1)), np.tile(turns, (many, 1)))

    def motions(self) -> np.ndarray:
        """float64 (T, S, 4, 4): where a solid's own frame, at its own size, lies in the world."""
        scales = np.array([s.scale for s in self.scene.solids], np.float64)
        angles = np.deg2rad(self.turns_deg)
        c, s, zero = np.cos(angles) * scales, np.sin(angles) * scales, np.zeros_like(angles)
        found = np.zeros((*angles.shape, 4, 4))
        found[..., :3, :3] = np.stack(
            [c, zero, s, zero, np.broadcast_to(scales, c.shape), zero, -s, zero, c], axis=-1
        ).reshape(*angles.shape, 3, 3)
        found[..., :3, 3], found[..., 3, 3] = self.feet, 1.0
        return found


@dataclass(frozen=True, eq=False)
class Stage:
    """V views of C scenes of at most S solids, on the device, float32 unless said.

    Args:
        scene: int64 (V,): which scene a view is of.
        eyes: (V, 3); where the camera stands.
        axes: (V, 3, 3): camera to world.
        focal: (V,): in sides of the picture.
        spheres: (V, S, 4): middle and square of the radius of a sphere round each solid; a negative one where none is.
        to_place: (V, S, 3, 4): world to places in the solid's volume.
        half: (V, S, 3): half sides of the volume's box, world units.
        own: (V, S, 4): foot and scale.
        swung: (V, S, 2): cosine and sine of how far the solid has turned since its pattern was laid on.
        volumes: int64 (V, S): the number of its volume.
        rows: int64 (V, S): its first material in `materials`.
        light: (C, LIGHT_SIZE), see `studio.scene.toybox.skies`.
        lamps: (C, P, 6): place and colour.
        materials: (M, MATERIAL_SIZE), see `studio.scene.toybox.march`.
        patterns: that the materials have, but for none.
        floors: kinds of floor that the scenes have.
        white: nothing but the solids is seen, on white.
    """

    scene: torch.Tensor
    eyes: torch.Tensor
    axes: torch.Tensor
    focal: torch.Tensor
    spheres: torch.Tensor
    to_place: torch.Tensor
    half: torch.Tensor
    own: torch.Tensor
    swung: torch.Tensor
    volumes: torch.Tensor
    rows: torch.Tensor
    light: torch.Tensor
    lamps: torch.Tensor
    materials: torch.Tensor
    patterns: tuple[int, ...]
    floors: tuple[int, ...]
    white: bool

    def __len__(self) -> int:
        return len(self.scene)


def stage(takes: Sequence[Take], fields: Fields, *, white: bool = False) -> Stage:
    """All moments of all takes, one after another, and the volumes that they need."""
    fields.bake(solid.kind for take in takes for solid in take.scene.solids)
    most = max(len(take.scene.solids) for take in takes)
    packs = [pack(take.scene) for take in takes]
    lamps = np.zeros((len(takes), max(len(p.lamps) for p in packs), 6))
    rows: list[dict[str, np.ndarray]] = []
    before = 0
    for number, (take, packed) in enumerate(zip(takes, packs, strict=True)):
        lamps[number, : len(packed.lamps)] = packed.lamps
        rows.append(_placed(take, fields, before + packed.spans[:, 0], most) | {"scene": np.full(len(take), number)})
        before += len(packed.materials)
    joined = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    materials = np.concatenate([p.materials for p in packs]) if before else np.zeros((1, MATERIAL_SIZE))
    light = np.stack([p.light for p in packs])

    def put(array: np.ndarray) -> torch.Tensor:
        whole = array.dtype.kind == "i"
        return torch.from_numpy(array.astype(np.int64 if whole else np.float32)).to(fields.device)

    return Stage(
        **{name: put(array) for name, array in joined.items()},
        light=put(light),
        lamps=put(lamps),
        materials=put(materials),
        patterns=tuple(int(p) for p in np.unique(materials[:, PATTERN]) if p != NO_PATTERN),
        floors=tuple(int(k) for k in np.unique(light[:, FLOOR_KIND])),
        white=white,
    )


def _placed(take: Take, fields: Fields, firsts: np.ndarray, most: int) -> dict[str, np.ndarray]:
    """The fields of `Stage` that a take has for each view; solids are filled up to `most`."""
    poses = np.linalg.inv(take.world_to_camera)
    solids, moments = take.scene.solids, len(take)
    shape = (moments, most)
    found = {
        "eyes": poses[:, :3, 3],
        "axes": poses[:, :3, :3],
        "focal": np.full(moments, take.focal),
        "spheres": np.full((*shape, 4), -1e9),
        "to_place": np.zeros((*shape, 3, 4)),
        "half": np.ones((*shape, 3)),
        "own": np.ones((*shape, 4)),
        "swung": np.zeros((*shape, 2)),
        "volumes": np.zeros(shape, np.int64),
        "rows": np.zeros(shape, np.int64),
    }
    for i, (solid, to_world) in enumerate(zip(solids, np.moveaxis(take.motions(), 1, 0), strict=True)):
        box = box_of(solid.kind)
        low, high = extent(solid.kind)
        to_own = np.linalg.inv(to_world)
        place = to_own[:, :3] / box.half[:, None]
        place[..., 3] -= box.middle / box.half
        swung = np.deg2rad(take.turns_deg[:, i] - solid.turn_deg)
        found["to_place"][:, i] = place
        found["spheres"][:, i, :3] = to_world[:, :3, :3] @ ((low + high) / 2) + to_world[:, :3, 3]
        found["spheres"][:, i, 3] = (solid.scale * np.linalg.norm(high - low) / 2) ** 2
        found["half"][:, i] = box.half * solid.scale
        found["own"][:, i, :3], found["own"][:, i, 3] = take.feet[:, i], solid.scale
        found["swung"][:, i] = np.stack([np.cos(swung), np.sin(swung)], axis=-1)
        found["volumes"][:, i] = fields.slot(solid.kind)
        found["rows"][:, i] = firsts[i]
    return found

"""`Layout`: where each thing of a sentence goes."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from studio.scene.toybox.lights import direction
from studio.scene.toybox.materials import MATERIALS
from studio.scene.toybox.scene import FORMS, Solid, corners, extent
from studio.scene.toybox.solids import SOLIDS
from studio.scene.toybox.touch import apart
from studio.scene.toybox.words import Thing

MOST_SOLIDS = 24
"""In a scene at most."""

GAP = 0.12
"""Between things that stand beside each other, scene units."""

TOUCH = 0.004
"""What counts as touching."""

_PLAIN_COLOUR = {"metal": "silver", "glass": "white"}
"""Of a plain shape whose material is named and whose colour is not."""


class Layout:
    """Places one thing after another: first what others are placed by, then what is placed by it."""

    def __init__(self, things: tuple[Thing, ...], azimuth_deg: float, floor: str, seed: int) -> None:
        self._things, self._seed, self._floor = things, seed, floor
        self._right = direction(azimuth_deg + 90, 0)
        self._near = direction(azimuth_deg, 0)
        self._azimuth = azimuth_deg
        self._placed: list[Solid] = []
        self._of: dict[int, list[int]] = {}
        self._left_over = MOST_SOLIDS
        self._now = np.random.default_rng(0)
        for number in range(len(things)):
            self._place(number, ())

    @property
    def solids(self) -> tuple[Solid, ...]:
        """All of them, each after those that it is placed by."""
        return tuple(self._placed)

    @property
    def firsts(self) -> tuple[Solid, ...]:
        """The first solid of each thing, in the order of the sentence."""
        return tuple(self._placed[self._of[number][0]] for number in range(len(self._things)))

    def _dice(self, kind: str, index: int) -> np.random.Generator:
        """Depends on what is placed and not on when, so that the order of the words does not matter."""
        same = sum(p.kind == kind for p in self._placed)
        return np.random.default_rng([self._seed & 0xFFFFFFFF, zlib.crc32(kind.encode()), same, index])

    def _place(self, number: int, waiting: tuple[int, ...]) -> None:
        if number in self._of:
            return
        thing = self._things[number]
        target = thing.target
        if 0 <= target < len(self._things) and target != number and target not in waiting:
            self._place(target, (*waiting, number))
        anchors = self._of.get(target, []) if target != number else []
        mine = self._of.setdefault(number, [])
        count = min(thing.count, self._left_over - sum(i not in self._of for i in range(len(self._things))))
        for index in range(max(1, count)):
            mine.append(len(self._placed))
            self._left_over -= 1
            self._now = self._dice(thing.kind, index)
            solid = self._draw(thing, index)
            if anchors and thing.relation:
                if thing.relation == "between" and len(anchors) > 1:
                    self._placed.append(self._between(solid, anchors))
                    continue
                anchor = self._placed[anchors[index % len(anchors)]]
                if thing.relation == "on":
                    slot = self._slot(number, index) if len(anchors) == 1 else 0.0
                    self._placed.append(self._on(solid, anchor, slot))
                    continue
                per = -(-max(1, count) // len(anchors))
                self._placed.append(self._related(solid, anchor, thing.relation, index // len(anchors), per))
            else:
                self._placed.append(self._in_row(solid, index))

    def _draw(self, thing: Thing, index: int) -> Solid:
        """A thing with what was left open drawn from the seed."""
        form = FORMS[thing.kind]
        substance = MATERIALS[thing.material].colour if thing.material else ""
        own = _PLAIN_COLOUR.get(thing.material) if thing.kind in SOLIDS else None
        first = int(self._now.integers(len(form.colours)))
        colour = thing.colour or substance or own or form.colours[(first + index) % len(form.colours)]
        wobble = float(self._now.normal())
        turn = form.turned + self._azimuth + 9 * wobble + (0 if index == 0 else 25 * float(self._now.normal()))
        scale = thing.size * (1.0 if thing.count == 1 else 1 + 0.07 * float(self._now.uniform(-1, 1)))
        return Solid(
            thing.kind, colour, thing.material, thing.pattern, (0.0, 0.0, 0.0), round(turn, 3), round(scale, 4)
        )

    def _at(self, solid: Solid, foot: np.ndarray) -> Solid:
        x, y, z = (round(float(c), 4) for c in foot)
        return replace(solid, foot=(x, y, z))

    def _rest(self, solid: Solid) -> float:
        """The height of its foot where nothing is said."""
        form = FORMS[solid.kind]
        if self._floor == "water" and form.sinks:
            return -form.sinks * solid.scale
        return form.floats - float(extent(solid.kind)[0][1]) * solid.scale

    def _in_row(self, solid: Solid, index: int) -> Solid:
        """To the right of everything; every other one of many a row further back."""
        many = sum(t.count for t in self._things) > 4
        back = (0.75 if index % 2 else -0.2) if many else 0.25 * float(self._now.uniform(-1, 1))
        x = 0.0
        for other in self._placed:
            x = max(x, float((corners(other) @ self._right).max()))
        x += float(-(corners(solid) @ self._right).min()) if self._placed else 0.0
        x -= 0.45 if many and index % 2 else 0.0
        foot = x * self._right - back * self._near
        foot[1] = self._rest(solid)
        return self._pushed(self._at(solid, foot), self._right)

    def _pushed(self, solid: Solid, way: np.ndarray, gap: float = GAP) -> Solid:
        """Moved along `way` until it is clear of everything."""
        foot = np.array(solid.foot)
        for _ in range(80):
            clear = min((apart(solid, other) for other in self._placed), default=1e9)
            if clear >= gap:
                break
            foot = foot + way * max(gap - clear, 0.03)
            solid = self._at(solid, foot)
        return solid

    def _dropped(self, solid: Solid) -> Solid:
        """Let down until it touches what is below, or the floor."""
        foot = np.array(solid.foot)
        foot[1] = max(float(corners(o)[:, 1].max()) for o in self._placed) + 0.02
        foot[1] -= float(extent(solid.kind)[0][1]) * solid.scale
        solid = self._at(solid, foot)
        rest = self._rest(solid) if not FORMS[solid.kind].floats else 0.0
        for _ in range(120):
            clear = min(min(apart(solid, o) for o in self._placed), float(solid.foot[1]) - min(rest, 0.0) + TOUCH)
            if clear <= TOUCH:
                break
            foot[1] -= clear - 0.5 * TOUCH
            solid = self._at(solid, foot)
        return solid

    def _related(self, solid: Solid, anchor: Solid, relation: str, index: int, count: int) -> Solid:
        top = float(corners(anchor)[:, 1].max())
        middle = corners(anchor).mean(axis=0)
        spread = self._spread(anchor)
        if relation == "above":
            way = self._right * (index - (count - 1) / 2) * 0.9
            foot = np.array([middle[0], top + 0.45 - float(extent(solid.kind)[0][1]) * solid.scale, middle[2]]) + way
            return self._pushed(self._at(solid, foot), np.array([0.0, 1.0, 0.0]))
        if relation == "under":
            return self._under(solid, anchor, index, count)
        if relation == "between":
            relation = "beside"
        flat = np.array([middle[0], 0.0, middle[2]])
        turn = 1 if index % 2 == 0 else -1
        if relation in ("left", "right", "beside"):
            sign = {"left": -1, "right": 1}.get(relation, turn)
            way = sign * self._right
            start = flat + way * spread * 0.6 + self._near * (0.12 * spread * float(self._now.uniform(-0.5, 1)))
        elif relation == "around":
            angle = 360 * (index + 0.5) / count
            way = direction(self._azimuth + angle, 0)
            start = flat + way * (spread + 0.1)
        else:
            way = self._near if relation == "front" else -self._near
            aside = (index - (count - 1) / 2) * (self._spread(solid) * 2 + GAP) + (0.35 * spread if count == 1 else 0)
            start = flat + way * spread * 0.6 + self._right * aside
        start[1] = self._rest(solid)
        return self._pushed(self._at(solid, start), way)

    def _between(self, solid: Solid, anchors: list[int]) -> Solid:
        """In the middle of the others, towards the viewer as far as it must be."""
        foot = np.mean([corners(self._placed[i]).mean(axis=0) for i in anchors], axis=0)
        foot[1] = self._rest(solid)
        return self._pushed(self._at(solid, foot), self._near)

    def _spread(self, solid: Solid) -> float:
        """Half its width along the floor, as seen by the camera or from the side, whichever is more."""
        points = corners(solid)
        return float(max(np.ptp(points @ self._right), np.ptp(points @ self._near)) / 2)

    def _on(self, solid: Solid, anchor: Solid, slot: float) -> Solid:
        """On top of the other thing, beside what is there already; smaller, down to half, where it is crowded.

        Args:
            slot: where along its width it should be, [-1, 1].
        """
        points = corners(anchor)
        middle = points.mean(axis=0)
        room = float(np.ptp(points @ self._right)) / 2
        deep = float(np.ptp(points @ self._near)) / 2
        others = [o for o in self._placed if o is not anchor]
        first = None
        for shrink in (1.0, 0.8, 0.65, 0.5):
            smaller = replace(solid, scale=round(solid.scale * shrink, 4))
            own = self._spread(smaller)
            across = np.linspace(-1, 1, 9) * max(0.0, room - own * 0.9)
            along = np.linspace(-1, 1, 3) * max(0.0, deep - own * 1.1) if others else np.zeros(1)
            spots = sorted(
                (round(abs(x - slot * room) + (0.7 if z > 0 else 1.4) * abs(z), 6), x, z) for x in across for z in along
            )
            for _, x, z in spots:
                at = self._dropped(self._at(smaller, middle + self._right * x + self._near * z))
                first = first or at
                rests = at.foot[1] > self._rest(at) + 0.02 and apart(at, anchor) <= 2 * TOUCH
                if rests and all(apart(at, other) >= 0.03 for other in others):
                    return at
        assert first is not None
        return first

    def _slot(self, number: int, index: int) -> float:
        """The middle of this one's share of the width, [-1, 1], among all that lies on the same thing."""
        target = self._things[number].target
        before, total = index, 0
        for other, thing in enumerate(self._things):
            if thing.relation == "on" and thing.target == target:
                before += thing.count if other < number else 0
                total += thing.count
        return (2 * before + 1) / max(1, total) - 1

    def _under(self, solid: Solid, anchor: Solid, index: int, count: int) -> Solid:
        """On the floor below the other thing, smaller where it must be; where there is no room, the other way up."""
        middle = corners(anchor).mean(axis=0)
        for shrink in (1.0, 0.85, 0.7, 0.55, 0.4):
            smaller = replace(solid, scale=round(solid.scale * shrink, 4))
            way = self._right * (index - (count - 1) / 2) * (2 * self._spread(smaller) + 0.06)
            foot = np.array([middle[0], 0.0, middle[2]]) + way
            foot[1] = -float(extent(solid.kind)[0][1]) * smaller.scale
            at = self._at(smaller, foot)
            if min(apart(at, other) for other in self._placed) >= 0.01:
                return at
        return self._pushed(self._at(solid, np.array([middle[0], self._rest(solid), middle[2]])), self._near)

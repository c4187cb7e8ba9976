"""Parts that things are made of, and how they look: plain data.

A thing stands with its foot at y = 0, faces +z, and is about as large as a toy of it would be beside a ball of
diameter 0.9. Lengths are in the scene's units, angles in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from studio.scene.toybox.distance import (
    BOX,
    CONE,
    CUT,
    CYLINDER,
    ELLIPSOID,
    GEM,
    HEART,
    PYRAMID,
    ROOF,
    ROUND_CONE,
    SPHERE,
    STAR,
    TORUS,
    UNION,
)

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """One primitive of a thing.

    Args:
        kind: of primitive (`studio.scene.toybox.distance`).
        at: where its centre lies (pyramid, roof: its foot's; round cone: its lower ball's; heart: its tip).
        sizes: as the primitive takes them.
        look: a key of `studio.scene.toybox.materials.LOOKS`; ``main`` takes the colour that was asked for.
        turn: degrees about z, then x, then y.
        how: UNION with what is before it, CUT out of it, or KEEP what both have.
        melt: width over which the seam is smoothed.
    """

    kind: int
    at: Triple
    sizes: tuple[float, ...]
    look: str = "main"
    turn: Triple = (0, 0, 0)
    how: int = UNION
    melt: float = 0.0


@dataclass(frozen=True)
class Form:
    """A thing: its parts, the colours that it comes in, and where it is at home.

    Args:
        colours: names; a scene takes one where none was asked for.
        trim: only a small part has the colour, such as a scarf: nobody would name the thing by it.
        light: of a scene that states none and begins with this thing; "" does not mind.
        floor: the same for the floor.
        floats: how high above the floor its foot hangs by default.
        sinks: how deep it lies in water.
        lamp: where it gives light from, or None.
        turned: degrees by which it is turned to show itself best.
        material: what it is of unless stated: a key of `studio.scene.toybox.materials.MATERIALS`.
    """

    parts: tuple[Part, ...]
    colours: tuple[str, ...]
    light: str = ""
    floor: str = ""
    floats: float = 0.0
    sinks: float = 0.0
    lamp: Triple | None = None
    turned: float = 0.0
    material: str = ""
    trim: bool = False


def ball(at: Triple, radius: float, look: str = "main", **more) -> Part:
    """A sphere."""
    return Part(SPHERE, at, (radius,), look, **more)


def egg(at: Triple, radii: Triple, look: str = "main", **more) -> Part:
    """An ellipsoid."""
    return Part(ELLIPSOID, at, radii, look, **more)


def block(at: Triple, half: Triple, look: str = "main", edge: float = 0.015, **more) -> Part:
    """A box of those half sides with rounded edges."""
    return Part(BOX, at, (*half, min(edge, *half)), look, **more)


def rod(at: Triple, radius: float, half: float, look: str = "main", edge: float = 0.01, **more) -> Part:
    """A cylinder along y with rounded edges."""
    return Part(CYLINDER, at, (radius, half, min(edge, radius, half)), look, **more)


def cone(at: Triple, below: float, above: float, half: float, look: str = "main", edge: float = 0.01, **more) -> Part:
    """A cone along y, cut off at both ends, its rounded edges beyond the radii given."""
    return Part(CONE, at, (below, above, half, edge), look, **more)


def ring(at: Triple, radius: float, thick: float, look: str = "main", **more) -> Part:
    """A torus about y."""
    return Part(TORUS, at, (radius, thick), look, **more)


def limb(at: Triple, below: float, above: float, high: float, look: str = "main", **more) -> Part:
    """Two balls, `high` apart along y, and all between them."""
    return Part(ROUND_CONE, at, (below, above, high), look, **more)


def star(at: Triple, radius: float, half: float, look: str = "main", **more) -> Part:
    """A five-pointed star facing z."""
    return Part(STAR, at, (radius, half, 0.03), look, **more)


def heart(at: Triple, size: float, half: float, look: str = "main", **more) -> Part:
    """A heart facing z, its tip at `at`."""
    return Part(HEART, at, (size, half, 0.06), look, **more)


def pyramid(at: Triple, half: float, high: float, look: str = "main", **more) -> Part:
    """A pyramid on a square."""
    return Part(PYRAMID, at, (half, high, 0.012), look, **more)


def roof(at: Triple, half: float, high: float, deep: float, look: str = "main", **more) -> Part:
    """A prism on a triangle: its ridge along z."""
    return Part(ROOF, at, (half, high, deep, 0.012), look, **more)


def gem(at: Triple, radius: float, above: float, below: float, look: str = "main", **more) -> Part:
    """A cut stone with eight sides."""
    return Part(GEM, at, (radius, above, below), look, **more)


def out_of(part: Part, melt: float = 0.0) -> Part:
    """The part, cut out of what is before it."""
    return replace(part, how=CUT, melt=melt)

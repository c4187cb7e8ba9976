"""A line of text at the foot of the clip."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from studio.context import Context
from studio.errors import BadInput
from studio.finish.step import Shape, Step
from studio.media.clip import Clip

_MAX_CHARACTERS = 300
_SHADE = (0, 0, 0, 150)
_INK = (255, 255, 255, 255)
_FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf", "arial.ttf"),
    *("NotoSansCJK-Regular.ttc", "msyh.ttc", "YuGothM.ttc", "malgun.ttf", "PingFang.ttc", "Arial Unicode.ttf"),
)
"""File names that Pillow looks for in the system's font folders."""


def run(clip: Clip, value: str, ctx: Context) -> Clip:
    """The text in white on a shaded box, wrapped at words, on every frame; where it stands the clip is opaque.

    The font is the one inside Pillow, which has ASCII; for other characters the first common font of this machine
    that has them all. A character that none has is refused rather than shown as a box.
    """
    label = _label(value, clip.width, clip.height)
    height, width = label.shape[:2]
    top, left = clip.height - height - clip.height // 24, (clip.width - width) // 2
    top = max(0, top)
    place = (slice(top, top + height), slice(left, left + width))
    a = label[..., 3:].astype(np.uint16)
    ink = label[..., :3] * a + np.uint16(127)
    frames = clip.frames.copy()
    for frame in frames:
        ctx.check()
        frame[place] = (frame[place] * (255 - a) + ink) // np.uint16(255)
    alpha = clip.alpha
    if alpha is not None:
        alpha = alpha.copy()
        alpha[:, place[0], place[1]] = np.maximum(alpha[:, place[0], place[1]], label[..., 3])
    return Clip(frames, clip.fps, alpha, clip.closed)


def _label(text: str, width: int, height: int) -> np.ndarray:
    """The box with its text, uint8 (h, w, 4) with straight alpha, no larger than the frame.

    Raises:
        BadInput: too long, or with characters that no font here has a shape for.
    """
    text = " ".join(text.split())
    if len(text) > _MAX_CHARACTERS:
        raise BadInput(
            f"finish: the caption has {len(text)} characters; {_MAX_CHARACTERS} is the most.", field="finish"
        )
    size = max(9, height // 18)
    font = _font(text, size)
    margin = size // 2
    lines = _wrapped(text, font, width - 4 * margin)
    # One line height for all, so that the box does not jump with descenders.
    ascent, descent = font.getmetrics()
    line_height = ascent + descent
    box = (
        min(width, max(round(font.getlength(line)) for line in lines) + 2 * margin),
        min(height, line_height * len(lines) + margin),
    )
    label = Image.new("RGBA", box, _SHADE)
    draw = ImageDraw.Draw(label)
    for i, line in enumerate(lines):
        draw.text((box[0] / 2, margin / 2 + i * line_height), line, _INK, font, anchor="ma")
    return np.asarray(label)


def _font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """A font with a shape for every character.

    Raises:
        BadInput: there is none on this machine.
    """
    bundled = ImageFont.load_default(size)
    missing = _missing(text, bundled)
    if not missing:
        return bundled
    for name in _FONTS:
        try:
            font = ImageFont.truetype(name, size)
        except OSError:
            continue
        if not _missing(text, font):
            return font
    raise BadInput(
        f"finish: no font on this machine has the caption's {missing[:20]!r}.",
        "Install one, such as DejaVu or Noto Sans, or write it otherwise.",
        field="finish",
    )


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The text in lines that are no wider, broken at spaces, or within a word that is wider alone."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if lines[-1] and font.getlength(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines


def _missing(text: str, font: ImageFont.FreeTypeFont) -> str:
    """The characters that the font draws as its box for the unknown."""
    unknown = bytes(font.getmask("\U0010fffd"))
    return "".join(c for c in dict.fromkeys(text) if not c.isspace() and bytes(font.getmask(c)) == unknown)


def expect(shape: Shape, value: str) -> Shape:
    """The same shape, once the text is known to fit and to have a font."""
    _label(value, shape.width, shape.height)
    return shape


STEP = Step(
    name="caption",
    summary="Writes a line of text at the foot of the clip.",
    takes="the text",
    run=run,
    expect=expect,
    needs_value=True,
)

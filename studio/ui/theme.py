"""The page's looks: Gradio's base theme with quiet greys, one ink-green accent and fonts that ship with Gradio."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors, fonts, sizes

ASSETS = Path(__file__).parent
CSS = ASSETS / "page.css"
SCRIPT = ASSETS / "page.js"
ICON = ASSETS / "icon.svg"

_ink = colors.Color(
    name="ink",
    c50="#eef7f5", c100="#d5ebe6", c200="#abd7ce", c300="#7cbfb3", c400="#4aa496", c500="#23877a",
    c600="#136e63", c700="#0f594f", c800="#0d463f", c900="#0b3934", c950="#062420",
)  # fmt: skip
_paper = colors.Color(
    name="paper",
    c50="#f8f8f6", c100="#efefec", c200="#e1e1dc", c300="#c9c9c3", c400="#9b9b95", c500="#6f6f6a",
    c600="#565652", c700="#3f3f3c", c800="#292927", c900="#1c1c1b", c950="#131312",
)  # fmt: skip


def make_theme() -> gr.themes.Base:
    """Light and dark; text and controls keep a contrast of 4.5 to 1 or more."""
    # Bold stands in for semi-bold: the semi-bold that Gradio 6.31 ships lacks most of the Latin letters.
    sans = [fonts.LocalFont("IBM Plex Sans", weights=(400, 700)), "sans-serif"]
    mono = [fonts.LocalFont("IBM Plex Mono", weights=(400,)), "monospace"]
    theme = gr.themes.Base(
        primary_hue=_ink, secondary_hue=_ink, neutral_hue=_paper, radius_size=sizes.radius_md, font=sans, font_mono=mono
    )
    return theme.set(
        color_accent="*primary_600",
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_background_fill="#ffffff",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        block_shadow="none",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_300",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="600",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        input_background_fill="*neutral_50",
        input_background_fill_dark="*neutral_800",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        button_secondary_background_fill="*neutral_100",
        button_secondary_background_fill_hover="*neutral_200",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_text_color="*neutral_900",
        button_secondary_text_color_dark="*neutral_100",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )

"""The small picture of an orbit: where its cameras stand, from above, and how their elevation goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from studio.scene.orbit import SURE_DEG, Orbit

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_INK, _INPUT, _QUIET = "#23877a", "#c2571a", "rgba(128, 128, 128, 0.35)"


def orbit_figure(orbit: Orbit) -> Figure:
    """Left the cameras from above, the input view at the bottom; right their elevation over their azimuth."""
    from plotly import graph_objects as go
    from plotly.subplots import make_subplots

    azimuths = np.array([0.0, *orbit.azimuths_deg[:-1], 360.0])
    elevations = np.array([orbit.elevations_deg[-1], *orbit.elevations_deg])
    figure = make_subplots(
        1, 2, specs=[[{"type": "polar"}, {"type": "xy"}]], column_widths=[0.36, 0.64], horizontal_spacing=0.2
    )
    away = np.cos(np.deg2rad(elevations[:-1]))
    colours = [_INPUT, *[_INK] * (len(orbit) - 1)]
    texts = [f"{a:.0f}\N{DEGREE SIGN}, {e:+.0f}\N{DEGREE SIGN}" for a, e in zip(azimuths, elevations, strict=True)]
    figure.add_trace(
        go.Scatterpolar(
            theta=azimuths[:-1], r=away, mode="markers", text=texts, hoverinfo="text", marker={"color": colours}
        ),
        1,
        1,
    )
    figure.add_trace(
        go.Scatter(
            x=azimuths, y=elevations, mode="lines+markers", text=texts, hoverinfo="text",
            line={"color": _INK, "width": 1.5}, marker={"color": [*colours, _INPUT], "size": 5},
        ),
        1,
        2,
    )  # fmt: skip
    steepest = max(SURE_DEG + 5, float(np.abs(elevations).max()) + 5)
    figure.add_shape(
        type="rect", xref="x", yref="y", x0=-5, x1=365, y0=-SURE_DEG, y1=SURE_DEG, fillcolor=_QUIET, opacity=0.3,
        line_width=0, layer="below",
    )  # fmt: skip
    figure.update_polars(
        radialaxis={"range": [0, 1.1], "showticklabels": False, "gridcolor": _QUIET, "linecolor": _QUIET},
        angularaxis={"rotation": 270, "direction": "counterclockwise", "dtick": 90, "gridcolor": _QUIET},
        bgcolor="rgba(0,0,0,0)",
    )
    # No title beside the axis: on a small screen it would lie on the other plot.
    figure.update_xaxes(title="elevation over azimuth", dtick=90, range=[-5, 365], gridcolor=_QUIET, zeroline=False)
    figure.update_yaxes(
        ticksuffix="\N{DEGREE SIGN}", range=[-steepest, steepest], gridcolor=_QUIET, zerolinecolor=_QUIET
    )
    figure.update_layout(
        height=210, margin={"l": 30, "r": 10, "t": 18, "b": 36}, showlegend=False,
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font={"size": 11, "color": "#808080"},
    )  # fmt: skip
    return figure

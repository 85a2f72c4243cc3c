"""How the charts of a report look: colours, axes, and what a page has no room for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from tuner.results.pictures.figures import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

COLOURS = (GREEN, BLUE, VERMILION, PURPLE, ORANGE, SKY)
GREY = "rgba(128,128,128,0.45)"


def style(figure: go.Figure, *, x: str = "", y: str = "", legend: bool = True) -> go.Figure:
    """Give a figure the looks of a report; the page sets its colours of text and grid, for they depend on the theme.

    Args:
        figure: is changed.
        x: title of the horizontal axis, if it is to have another one.
        y: likewise of the vertical one.
        legend: whether it has a legend, which is above it.
    """
    figure.update_layout(
        template="none",
        title=None,
        colorway=COLOURS,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 56, "r": 16, "t": 12, "b": 48},
        showlegend=legend,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        hoverlabel={"namelength": -1},
        width=None,
        height=None,
    )
    figure.update_xaxes(automargin=True, zeroline=False, **({"title": {"text": x}} if x else {}))
    figure.update_yaxes(automargin=True, zeroline=False, **({"title": {"text": y}} if y else {}))
    return figure


def line(name: str, x: Sequence[Any], y: Sequence[Any], place: int, **options: Any) -> go.Scatter:
    """Return a line with markers in the colour of its place."""
    colour = COLOURS[place % len(COLOURS)]
    return go.Scatter(
        name=name,
        x=list(x),
        y=list(y),
        mode="lines+markers",
        line={"color": colour, "width": 2, **options.pop("line", {})},
        marker={"color": colour, "size": 5},
        **options,
    )


def joined(lines: Sequence[tuple[Sequence[float], Sequence[float]]], name: str) -> go.Scatter:
    """Return many lines as one grey one with gaps, which a page draws much faster."""
    x: list[float | None] = []
    y: list[float | None] = []
    for along, values in lines:
        x += [*along, None]
        y += [*values, None]
    return go.Scatter(name=name, x=x, y=y, mode="lines", line={"color": GREY, "width": 1}, hoverinfo="skip")

# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plots as inline SVG that takes its font and its colours from the page around it."""

from __future__ import annotations

import functools
import html
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SERIES = (
    *('#3b82f6', '#f97316', '#10b981', '#a855f7', '#ef4444', '#0ea5e9', '#eab308', '#ec4899'),
)
"""Colours of the runs, in their order; they read on white and on black."""

FULL_IN = 11.4
"""Width of a plot that takes the page's whole width, in inches."""

HALF_IN = 5.3
"""Width of a plot that shares it with another."""

# Stand-ins that no plot uses otherwise; the page's own colours take their place.
INK = '#010203'
FAINT = '#030201'
_PAGE_COLOURS = {INK: 'currentColor', FAINT: 'var(--line)'}

P = ParamSpec('P')

# Any: matplotlib's stubs want every key as a literal.
_STYLE: Any = {
    'svg.fonttype': 'none',
    'svg.hashsalt': 'mt_perception',
    'font.family': 'DejaVu Sans',
    'font.size': 9,
    'text.parse_math': False,
    'text.color': INK,
    'axes.labelcolor': INK,
    'axes.edgecolor': FAINT,
    'axes.linewidth': 0.8,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'axes.titlesize': 10,
    'axes.titlelocation': 'left',
    'grid.color': FAINT,
    'grid.linewidth': 0.6,
    'xtick.color': FAINT,
    'ytick.color': FAINT,
    'xtick.labelcolor': INK,
    'ytick.labelcolor': INK,
    'legend.frameon': False,
    'legend.fontsize': 8,
    'lines.linewidth': 1.6,
    'figure.facecolor': 'none',
    'axes.facecolor': 'none',
    'figure.constrained_layout.use': True,
}


@dataclass(frozen=True)
class Ink:
    """Name and colour of a run in every plot; points of a sweep are paler."""

    name: str
    colour: str
    alpha: float = 1.0


def plot(draw: Callable[P, str]) -> Callable[P, str]:
    """Run a function that draws in our style, without touching that of the program around it."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> str:
        with mpl.rc_context(_STYLE), warnings.catch_warnings():
            # Letters that the measuring font lacks are drawn by the reader's browser all the same.
            warnings.filterwarnings('ignore', message='Glyph .* missing from')
            return draw(*args, **kwargs)

    return styled


def canvas(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, Any]:
    """An empty figure of a size in inches, and its axes (an array if there are several)."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns)


def colour(index: int) -> str:
    """The colour of the run with this number."""
    return SERIES[index % len(SERIES)]


def printable(text: str) -> str:
    """A name from a bag or a data set without what a plot cannot show, and not too long."""
    clean = ''.join(c if c.isprintable() else '\N{REPLACEMENT CHARACTER}' for c in text)
    return clean if len(clean) <= 48 else clean[:47] + '…'


def legend(figure: Figure, axes: Axes, columns: int = 4) -> None:
    """A legend above the plots, if there is more than one entry."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, ncols=columns, loc='outside upper left')


def to_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an SVG element; text in it is escaped by matplotlib.

    Args:
        figure: The figure.
        name: Unique on the page; it prefixes the ids.
        description: Alternative text.
    """
    file = io.StringIO()
    figure.savefig(file, format='svg', metadata={'Date': None})
    svg = file.getvalue()
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
    svg = re.sub(r'<!--.*?-->\s*', '', svg, flags=re.DOTALL)
    svg = _own_ids(svg, name)
    for stand_in, page_colour in _PAGE_COLOURS.items():
        svg = svg.replace(stand_in, page_colour)
    svg = re.sub(r'font: ([\d.]+)px [^;"]*', r'font-size: \1px', svg)
    kind = 'plot wide' if figure.get_figwidth() > HALF_IN else 'plot'
    opening = f'<svg role="img" aria-label="{html.escape(description)}" class="{kind}" '
    return svg.replace('<svg ', opening, 1)


def _own_ids(svg: str, name: str) -> str:
    """Only ids that something refers to, and none that another figure has."""
    used = set(re.findall(r'(?:href="#|url\(#)([\w.-]+)', svg))

    def rename(found: re.Match[str]) -> str:
        return f' id="{name}-{found[1]}"' if found[1] in used else ''

    svg = re.sub(r' id="([\w.: -]+)"', rename, svg)
    return re.sub(r'(href="#|url\(#)([\w.-]+)', rf'\g<1>{name}-\g<2>', svg)

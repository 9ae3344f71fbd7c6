"""One look for every figure: colours that all readers can tell apart, names beside the curves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from neuralcollapse.files import atomic_path, write_whole
from neuralcollapse.validation import check_choice

# Okabe & Ito 2008, "Color universal design": distinct under every common colour blindness.
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#6B6B6B"
LABEL_POINTS = 9.5

RC: dict[Any, object] = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "ytick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": LABEL_POINTS,
}


@contextmanager
def figure(rows: int, columns: int, width: float, height: float) -> Iterator[tuple[Figure, list]]:
    """Yield a figure of this look and its panels, row by row; draw inside the block.

    Parameters
    ----------
    rows, columns
        Of panels.
    width, height
        Of the figure, in inches.

    Yields
    ------
    tuple
        The figure and the list of its axes.
    """
    with matplotlib.rc_context(RC):
        drawing = Figure(figsize=(width, height))  # not of pyplot: no window, no global state
        panels = drawing.subplots(rows, columns, squeeze=False).ravel().tolist()
        yield drawing, panels


def label_ends(axes: Axes) -> None:
    """Write the name of each curve at its right end, in its colour, without overlaps.

    Call it last: the positions depend on the limits of the axes. Curves whose name starts with an
    underscore get no label.

    Parameters
    ----------
    axes
        The panel.
    """
    # The height of a line of text as a share of the panel's, before the layout stretches it.
    gap = 1.15 * LABEL_POINTS * axes.figure.dpi / 72 / axes.bbox.height
    to_panel = axes.transData + axes.transAxes.inverted()
    names = []
    for line in axes.lines:
        name, points = str(line.get_label()), np.asarray(line.get_xydata())
        if not name.startswith("_"):
            finite = points[np.isfinite(points[:, 1])]
            end = float(to_panel.transform(finite[-1])[1]) if len(finite) else 0.0
            text = name if len(finite) else f"{name}: undefined"
            names.append((min(max(end, 0.0), 1.0), text, line.get_color()))
    names.sort(key=lambda name: name[0])
    for place, (_, text, color) in zip(_spread([n[0] for n in names], gap), names, strict=True):
        at = (1.015, place)
        axes.annotate(
            text, at, xycoords="axes fraction", color=color, size=LABEL_POINTS, va="center"
        )


def save(drawing: Figure, path: str | Path) -> Path:
    """Write a figure completely or not at all, and return its path.

    Parameters
    ----------
    drawing
        The figure.
    path
        The file; its extension sets the format.

    Raises
    ------
    NeuralCollapseError
        If the extension is not that of an image format.
    """
    require_image(path)
    with atomic_path(path) as temporary:
        drawing.savefig(temporary)
    return Path(path)


def require_image(path: str | Path, argument: str = "ending of the image") -> None:
    """Refuse a file name whose extension is not that of an image format."""
    endings = [f".{kind}" for kind in FigureCanvasBase.get_supported_filetypes()]
    check_choice(argument, Path(path).suffix.lower(), endings)


def captioned(drawing: Figure, path: str | Path, caption: str) -> list[Path]:
    """Write a figure and its caption, a text file beside it, and return both paths.

    Parameters
    ----------
    drawing
        The figure.
    path
        The image file; the caption's has the extension ``.txt``.
    caption
        What is drawn, and with which settings.
    """
    words = " ".join(caption.split())
    return [save(drawing, path), write_whole(Path(path).with_suffix(".txt"), f"{words}\n")]


def _spread(places: list[float], gap: float) -> list[float]:
    """Move ascending positions at least `gap` apart, each crowd about its own middle."""
    crowds: list[list[float]] = []
    for place in places:
        crowds.append([place])
        while len(crowds) > 1 and _span(crowds[-2], gap)[1] + gap > _span(crowds[-1], gap)[0]:
            crowds[-2:] = [crowds[-2] + crowds[-1]]
    return [_span(crowd, gap)[0] + i * gap for crowd in crowds for i in range(len(crowd))]


def _span(crowd: list[float], gap: float) -> tuple[float, float]:
    middle, half = sum(crowd) / len(crowd), (len(crowd) - 1) * gap / 2
    return middle - half, middle + half

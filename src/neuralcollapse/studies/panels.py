"""What the figures of the studies share: curves of several seeds, their bands, and their axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import (
    FixedLocator,
    FormatStrFormatter,
    LogLocator,
    NullLocator,
    StrMethodFormatter,
)
from numpy.typing import ArrayLike, NDArray

Curves = dict[str, NDArray[np.float64]]


def curves_by_case(
    cases: Sequence[str], keys: Sequence[str], histories: Sequence[Sequence[Mapping[str, Any]]]
) -> Curves:
    """Gather the records of runs as arrays, one for each case and key.

    Parameters
    ----------
    cases
        Names, in the order of the histories.
    keys
        Of the values wanted.
    histories
        Of the runs, equally many for each case, all measured at the same epochs.

    Returns
    -------
    dict of arrays
        ``epochs`` (T,), and ``{case}_{key}`` (runs, T).
    """
    values = np.array([[[r[key] for key in keys] for r in run] for run in histories], float)
    values = values.reshape(len(cases), -1, *values.shape[1:])
    epochs = np.array([record["epoch"] for record in histories[0]], float)
    return {"epochs": epochs} | {
        f"{case}_{key}": values[i, ..., j]
        for i, case in enumerate(cases)
        for j, key in enumerate(keys)
    }


def band(
    axes: Axes, x: ArrayLike, rows: Any, color: str, alpha: float = 0.15, **style: Any
) -> None:
    """Draw the median of some curves as a line, and their range as a band.

    Parameters
    ----------
    axes
        The panel.
    x
        (T,) where the curves are known.
    rows
        (curves, T) their values.
    color
        Of line and band.
    alpha
        Opacity of the band.
    style
        Of the line, and its label.
    """
    axes.fill_between(x, np.min(rows, 0), np.max(rows, 0), color=color, alpha=alpha, lw=0)
    axes.plot(x, np.median(rows, 0), color=color, **style)


def drawn_by_band(num_seeds: int) -> str:
    """Say in words what `band` draws.

    Parameters
    ----------
    num_seeds
        How many.

    Examples
    --------
    >>> drawn_by_band(3)
    'median of 3 seeds, band: their range'
    """
    return "one seed" if num_seeds == 1 else f"median of {num_seeds} seeds, band: their range"


def share_limits(panels: Sequence[Axes]) -> None:
    """Give panels the same vertical axis, which shows all that any of them shows."""
    limits = np.array([axes.get_ylim() for axes in panels])
    for axes in panels:
        axes.set_ylim(limits.min(), limits.max())


def log_ticks(axis: Axis, subs: Sequence[float]) -> None:
    """Write plain numbers on a logarithmic axis, at these multiples of the powers of ten."""
    _ticks(axis, LogLocator(subs=subs), FormatStrFormatter("%g"))


def fixed_ticks(axis: Axis, ticks: Sequence[float]) -> None:
    """Write these numbers on an axis, and no others."""
    _ticks(axis, FixedLocator(ticks), StrMethodFormatter("{x:,g}"))


def _ticks(axis: Axis, locator: Any, formatter: Any) -> None:
    axis.set_major_locator(locator)
    axis.set_major_formatter(formatter)
    axis.set_minor_locator(NullLocator())

"""A crossed design: every alignment trained from every seed with every order of the data."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError

COLUMNS = ("alignment", "seed", "order", "value", "converged")


@dataclass(frozen=True)
class CrossedDesign:
    """The runs of a crossed design as arrays.

    Attributes
    ----------
    values
        (a, b, r) outcome of each alignment, seed and order.
    converged
        (a, b, r) whether the run fitted its training data.
    alignments, seeds, orders
        Their names, in the order of the axes.
    """

    values: Float[np.ndarray, "a b r"]
    converged: Bool[np.ndarray, "a b r"]
    alignments: tuple
    seeds: tuple
    orders: tuple


def crossed_design(table: pd.DataFrame) -> CrossedDesign:
    """Return the runs of a table as a crossed design, or say which run is missing.

    Parameters
    ----------
    table
        One run per row, in any order, with the columns ``alignment``, ``seed``, ``order`` (of the
        data; order o of different seeds need not have anything in common), ``value`` (the
        outcome) and ``converged`` (whether the run fitted its training data).

    Returns
    -------
    CrossedDesign
        Names in the order of their first appearance.

    Raises
    ------
    NeuralCollapseError
        If a column is missing, there are fewer than two alignments or seeds, a run is missing
        (the message names it) or is there twice.
    NonFiniteError
        If a value is NaN or infinite; the message names the run.

    Examples
    --------
    >>> runs = [(a, s, 0, 10 * a + s, True) for a in (1, 2) for s in (5, 6, 7)]
    >>> crossed_design(pd.DataFrame(runs, columns=COLUMNS)).values[:, :, 0].tolist()
    [[15.0, 16.0, 17.0], [25.0, 26.0, 27.0]]
    """
    missing = [name for name in COLUMNS if table is None or name not in table]
    if missing:
        expected = f"the columns {', '.join(COLUMNS)}"
        remedy = "pass one run per row, with these columns"
        raise NeuralCollapseError("table", expected, f"none called {', '.join(missing)}", remedy)
    names = [tuple(table[name].drop_duplicates()) for name in COLUMNS[:3]]
    for name, levels in zip(("alignments", "seeds"), names, strict=False):
        if len(levels) < 2:
            remedy = "one alignment, or one seed, cannot tell alignments from seeds"
            raise NeuralCollapseError("table", f"at least 2 {name}", str(len(levels)), remedy)
    _check_cells(table, names)
    values = table["value"].astype(float)
    bad = table[~np.isfinite(values)]
    if len(bad):
        got = f"{bad['value'].iloc[0]} for {_name(*bad.iloc[0][list(COLUMNS[:3])])}"
        remedy = "give runs that diverged the outcome they had, and converged = False"
        raise NonFiniteError("value", "a finite outcome of every run", got, remedy)
    if not table["converged"].isin((True, False)).all():  # NaN, and any text, would count as True
        got = str(table.loc[~table["converged"].isin((True, False)), "converged"].iloc[0])
        remedy = "say of each run whether it fitted its training data"
        raise NeuralCollapseError("converged", "True or False for every run", got, remedy)
    codes = [pd.Categorical(table[COLUMNS[i]], names[i]).codes for i in range(3)]
    shape = tuple(len(levels) for levels in names)
    arrays = np.empty(shape), np.empty(shape, dtype=bool)
    arrays[0][tuple(codes)], arrays[1][tuple(codes)] = values, table["converged"].astype(bool)
    return CrossedDesign(*arrays, *names)


def _check_cells(table: pd.DataFrame, names: list[tuple]) -> None:
    counts = table.groupby(list(COLUMNS[:3]), sort=False).size()
    there = set(counts.index)
    expected = "one run of every alignment, seed and order"
    absent = [cell for cell in product(*names) if cell not in there]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        remedy = "train the missing runs, or leave out a whole alignment, seed or order"
        raise NeuralCollapseError("table", expected, f"none of {_name(*absent[0])}{more}", remedy)
    twice = counts[counts > 1]
    if len(twice):
        got = f"{twice.iloc[0]} of {_name(*next(iter(twice.index)))}"
        remedy = "keep one, or call the others a further order"
        raise NeuralCollapseError("table", expected, got, remedy)


def _name(alignment: object, seed: object, order: object) -> str:
    return f"alignment {alignment}, seed {seed}, order {order}"

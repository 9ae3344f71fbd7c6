import math

import numpy as np
import pandas as pd
import pytest

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization.design import crossed_design


def runs(a=3, b=2, r=2):
    rows = [
        (f"turn {p}", s, o, 100 * p + 10 * s + o, p != 1)
        for p in range(a)
        for s in range(b)
        for o in range(r)
    ]
    return pd.DataFrame(rows, columns=["alignment", "seed", "order", "value", "converged"])


def test_runs_find_their_place_in_any_order():
    shuffled = runs().sample(frac=1, random_state=0)
    design = crossed_design(shuffled)
    assert design.values.shape == (3, 2, 2)
    for i, alignment in enumerate(design.alignments):
        for j, seed in enumerate(design.seeds):
            for k, order in enumerate(design.orders):
                p = int(alignment.split()[1])
                assert design.values[i, j, k] == 100 * p + 10 * seed + order
                assert design.converged[i, j, k] == (p != 1)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (runs().drop(columns="order"), "table: expected the columns.*got none called order"),
        (runs(a=1), "table: expected at least 2 alignments, got 1; one alignment, or one seed"),
        (runs(b=1), "table: expected at least 2 seeds, got 1"),
        (runs().drop(index=[6, 9]), "got none of alignment turn 1, seed 1, order 0 and 1 more"),
        (runs().drop(index=6), "got none of alignment turn 1, seed 1, order 0; train the missing"),
        (pd.concat([runs(), runs()[:1]]), "got 2 of alignment turn 0, seed 0, order 0; keep one"),
        (runs()[:0], "table: expected at least 2 alignments, got 0"),
    ],
)
def test_bad_tables_are_refused(table, message):
    with pytest.raises(NeuralCollapseError, match=message):
        crossed_design(table)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused_by_name(bad):
    table = runs().astype({"value": float})
    table.loc[5, "value"] = bad
    with pytest.raises(
        NonFiniteError, match=r"value: .*for alignment turn 1, seed 0, order 1; give"
    ):
        crossed_design(table)
    assert np.isfinite(crossed_design(runs()).values).all()

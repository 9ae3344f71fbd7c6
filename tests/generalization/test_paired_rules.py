import math
from itertools import product

import numpy as np
import pandas as pd
import pytest

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization import compare_rules


def runs(seeds=6, effect=0.5, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    names = [0, 1, 2, "hungarian", "procrustes"]
    level = dict.fromkeys(names, 0.0) | {"hungarian": effect}
    rows = [
        (name, s, o, 10 * s + level[name] + noise * rng.normal(), True)
        for name in names
        for s in range(seeds)
        for o in range(2)
    ]
    return pd.DataFrame(rows, columns=["alignment", "seed", "order", "value", "converged"])


def test_differences_by_explicit_sums():
    table = runs()
    differences = []
    for s in range(6):
        own = [
            v
            for a, t, v in table[["alignment", "seed", "value"]].values
            if (a, t) == ("hungarian", s)
        ]
        random = [
            v
            for a, t, v in table[["alignment", "seed", "value"]].values
            if a in (0, 1, 2) and t == s
        ]
        differences.append(sum(own) / 2 - sum(random) / 6)
    row = compare_rules(table, ["hungarian", "procrustes"]).loc["hungarian"]
    mean = sum(differences) / 6
    se = math.sqrt(sum((d - mean) ** 2 for d in differences) / 5 / 6)
    assert row["difference"] == pytest.approx(mean)
    assert row["se"] == pytest.approx(se)
    assert row["t"] == pytest.approx(mean / se)
    assert row["low"] < mean < row["high"]
    # All 64 sign flips, by enumeration.
    flips = [
        abs(sum(f * d for f, d in zip(fs, differences, strict=True)))
        for fs in product((-1, 1), repeat=6)
    ]
    extreme = sum(value >= abs(sum(differences)) * (1 - 1e-12) for value in flips)
    assert row["p_sign_flip"] == pytest.approx(extreme / 64)


def test_seed_effects_cancel_and_a_clear_rule_is_seen():
    compared = compare_rules(runs(10, effect=3.0, noise=0.1), ["hungarian", "procrustes"])
    assert compared.loc["hungarian", "p_holm"] < 1e-6
    assert compared.loc["hungarian", "difference"] == pytest.approx(3, abs=0.2)
    assert abs(compared.loc["procrustes", "difference"]) < 0.2


def test_differences_without_spread():
    table = runs(noise=0.0)
    compared = compare_rules(
        table.assign(value=table["value"].round(6)), ["hungarian", "procrustes"]
    )
    assert compared.loc["hungarian", ["difference", "p"]].tolist() == [0.5, 0.0]
    assert compared.loc["procrustes", ["difference", "p"]].tolist() == [0.0, 1.0]


def test_p_values_are_corrected_by_holm_s_definition():
    # Step-down: the level at which p_i is rejected is the largest (n - rank) p over those before.
    rules = ["hungarian", "procrustes", "first"]
    table = runs(effect=0.8, noise=0.5)
    compared = compare_rules(table.replace({"alignment": {0: "first"}}), rules)
    p = compared["p"].tolist()
    expected, running = [0.0] * 3, 0.0
    for rank, i in enumerate(sorted(range(3), key=lambda i: p[i])):
        running = max(running, (3 - rank) * p[i])
        expected[i] = min(1.0, running)
    assert compared["p_holm"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: compare_rules(runs(), ["best"]),
            r"rules: expected alignments in the table \(0, 1",
        ),
        (
            lambda: compare_rules(runs().query("alignment == 'hungarian'"), ["hungarian"]),
            "table: expected at least 1 random alignment, got none",
        ),
        (
            lambda: compare_rules(runs().drop(index=3), ["hungarian"]),
            "table: expected one run of every.*got none of alignment 0, seed 1, order 1",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="got nan for alignment 0, seed 0, order 0"):
        compare_rules(runs().assign(value=math.nan), ["hungarian"])

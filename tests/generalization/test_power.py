import math

import numpy as np
import pytest
from scipy import stats

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import (
    alignment_power,
    power_table,
    seeds_for_paired_effect,
    seeds_needed,
)


@pytest.mark.parametrize(("a", "b", "ratio"), [(6, 5, 1.0), (12, 9, 0.5), (4, 3, 0.3)])
def test_power_by_simulation(a, b, ratio):
    rng, draws = np.random.default_rng(0), 4000
    y = ratio * rng.normal(size=(draws, a, 1)) + rng.normal(size=(draws, a, b))
    between = b * y.mean(2).var(1, ddof=1)
    residual = (
        y - y.mean(2, keepdims=True) - y.mean(1, keepdims=True) + y.mean((1, 2), keepdims=True)
    )
    F = between / ((residual**2).sum((1, 2)) / ((a - 1) * (b - 1)))
    limit = stats.f.isf(0.05, a - 1, (a - 1) * (b - 1))
    rejected = (limit < F).mean()
    power = alignment_power(ratio, a, b)
    assert abs(rejected - power) < 4 * math.sqrt(power * (1 - power) / draws)


def test_seeds_are_the_least_that_suffice():
    table = power_table()
    assert table.index.tolist() == [6, 12, 24]
    for a in table.index:
        for ratio in table.columns:
            b = int(table.loc[a, ratio])
            assert alignment_power(float(ratio), int(a), b) >= 0.8
            if b > 2:
                assert alignment_power(float(ratio), int(a), b - 1) < 0.8


def test_no_effect_has_the_level_as_power():
    assert alignment_power(0.0, 8, 4, level=0.1) == pytest.approx(0.1, rel=1e-9)


def test_paired_power_by_simulation():
    b = seeds_for_paired_effect(0.3, 0.6)
    rng, draws = np.random.default_rng(1), 4000
    p = stats.ttest_1samp(0.3 + 0.6 * rng.normal(size=(draws, b)), 0, axis=1).pvalue
    assert abs((p <= 0.05).mean() - 0.81) < 4 * math.sqrt(0.8 * 0.2 / draws) + 0.01
    assert seeds_for_paired_effect(-0.3, 0.6) == b
    assert seeds_for_paired_effect(100.0, 0.1) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: alignment_power(0.5, 12, 1),
            "seeds: expected at least 2, got 1; fewer cannot tell",
        ),
        (lambda: alignment_power(0.5, 1, 12), "alignments: expected at least 2, got 1"),
        (lambda: alignment_power(-0.5, 3, 3), "ratio: expected at least 0, got -0.5"),
        (lambda: alignment_power(0.5, 3, 3, 5.0), r"level and power: expected numbers in \(0, 1\)"),
        (lambda: seeds_needed(0.0, 3), "ratio: expected a finite number above 0"),
        (lambda: seeds_needed(1e-9, 3), "power: expected one that 1000000 seeds reach"),
        (
            lambda: seeds_for_paired_effect(0.0, 1.0),
            r"abs\(effect\): expected a finite number above",
        ),
        (lambda: seeds_for_paired_effect(1.0, 0.0), "deviation: expected a finite number above 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()

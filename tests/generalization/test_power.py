import math

import numpy as np
import pytest
from scipy import stats

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import alignment_power, seeds_needed


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


@pytest.mark.parametrize("a", [6, 12, 24])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
def test_seeds_are_the_least_that_suffice(a, ratio):
    b = seeds_needed(ratio, a)
    assert alignment_power(ratio, a, b) >= 0.8
    if b > 2:
        assert alignment_power(ratio, a, b - 1) < 0.8


def test_no_effect_has_the_level_as_power():
    assert alignment_power(0.0, 8, 4, level=0.1) == pytest.approx(0.1, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: alignment_power(0.5, 12, 1),
            "seeds: expected at least 2, got 1; fewer cannot tell",
        ),
        (lambda: alignment_power(0.5, 1, 12), "alignments: expected at least 2, got 1"),
        (lambda: alignment_power(-0.5, 3, 3), "ratio: expected a finite number above 0, got -0.5"),
        (lambda: alignment_power(0.5, 3, 3, 5.0), r"level: expected a number in \(0, 1\)"),
        (lambda: seeds_needed(0.0, 3), "ratio: expected a finite number above 0"),
        (lambda: seeds_needed(1e-9, 3), "power: expected one that 1000000 seeds reach"),
        (lambda: seeds_needed(0.5, 3, power=1.0), r"power: expected a number in \(0, 1\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()

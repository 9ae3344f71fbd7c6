import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.measurement_schedule import measurement_epochs


@given(st.integers(1, 3000), st.integers(1, 30), st.integers(1, 30))
def test_dense_first_then_even_in_the_logarithm(epochs, dense, per_decade):
    chosen = measurement_epochs(epochs, dense=dense, per_decade=per_decade)
    assert chosen[: min(dense, epochs)] == list(range(1, min(dense, epochs) + 1))
    assert chosen == sorted(set(chosen))
    assert chosen[-1] == epochs
    later = [epoch for epoch in chosen[:-1] if epoch >= dense]
    ratio = 10 ** (1 / per_decade)
    for early, late in pairwise(later):
        # Rounding moves each by at most a half.
        assert (late - 0.5) / (early + 0.5) <= ratio * (1 + 1e-12)
    decades = max(0.0, math.log10(epochs / dense))
    assert len(chosen) <= min(dense, epochs) + decades * per_decade + 2


def test_the_default_measures_a_paper_s_run_at_a_bearable_price():
    assert len(measurement_epochs(400)) < 50
    assert len(measurement_epochs(5)) == 5


@given(st.integers(1, 200), st.integers(1, 50))
def test_every_so_many_and_the_last(epochs, every):
    expected = [epoch for epoch in range(1, epochs + 1) if epoch % every == 0 or epoch == epochs]
    assert measurement_epochs(epochs, every=every) == expected


def test_an_explicit_list():
    assert measurement_epochs(10, at=[7, 2, 2, 30]) == [2, 7, 10]
    assert measurement_epochs(10, at=[]) == [10]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "measure_every: expected at least 1 epoch, got 0; use 1 for every epoch"),
        ({"at": [3, 0]}, "measure_at: expected epochs from 1 on, got 0; number the epochs from 1"),
        ({"every": 1, "at": [1]}, "measure_every, measure_at: expected at most one of them"),
    ],
)
def test_bad_values_are_refused(options, message):
    with pytest.raises(NeuralCollapseError, match=message):
        measurement_epochs(5, **options)

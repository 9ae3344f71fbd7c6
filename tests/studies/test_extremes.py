"""NaN among measured numbers is always what is reported."""

import itertools
import math

import pytest

from neuralcollapse.studies.extremes import farthest, largest, smallest


@pytest.mark.parametrize("values", itertools.permutations([1.0, math.nan, 3.0]))
def test_nan_is_reported_wherever_it_stands(values):
    assert math.isnan(largest(*values))
    assert math.isnan(smallest(*values))
    assert math.isnan(farthest(values))


def test_without_nan_they_are_the_extremes():
    assert (largest(1, -2, 3), smallest(1, -2, 3), farthest([1, -2, 3], 0)) == (3, -2, 3)

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.measurement.separation_law import fit_separation_law

POSITIVE = st.floats(1e-6, 1e6)


@given(st.lists(POSITIVE, min_size=3, max_size=12))
def test_the_line_is_that_of_the_normal_equations(values):
    law = fit_separation_law(values)
    depths, logs = np.arange(1, len(values) + 1), np.log(values)
    matrix = np.stack([np.ones_like(logs), depths], 1)
    (start, slope), *_ = np.linalg.lstsq(matrix, logs, rcond=None)
    assert math.log(law.ratio) == pytest.approx(slope, abs=1e-9)
    assert math.log(law.initial) == pytest.approx(start, abs=1e-9)
    left = ((logs - start - slope * depths) ** 2).sum()
    total = ((logs - logs.mean()) ** 2).sum()
    if total > 1e-6:
        assert law.r_squared == pytest.approx(1 - left / total, abs=1e-6)
    np.testing.assert_allclose([math.log(law.at(2))], [start + 2 * slope], atol=1e-9)


@given(ratio=st.floats(0.1, 3), initial=POSITIVE, layers=st.integers(3, 10))
def test_a_geometric_profile_is_found_exactly(ratio, initial, layers):
    law = fit_separation_law([initial * ratio**depth for depth in range(1, layers + 1)])
    assert law.ratio == pytest.approx(ratio, rel=1e-9)
    assert law.initial == pytest.approx(initial, rel=1e-7)
    assert law.layers == layers
    if abs(math.log(ratio)) > 1e-3:
        assert law.r_squared == pytest.approx(1, abs=1e-9)


def test_values_without_logarithm_keep_their_place():
    law = fit_separation_law([math.inf, 4.0, 2.0, math.nan, 0.5, 0.0])
    assert law.layers == 3
    assert law.ratio == pytest.approx(0.5)
    assert law.initial == pytest.approx(16)


def test_too_few_layers_and_level_profiles():
    assert fit_separation_law([2.0, 1.0]) is None
    assert fit_separation_law([2.0, 1.0, 0.0]) is None
    level = fit_separation_law([3.0] * 4)
    assert (level.ratio, level.r_squared) == (1.0, 1.0)

import numpy as np
import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory.round_off import regular_systems


@pytest.mark.parametrize(
    ("compute", "found"),
    [
        (lambda: np.linalg.solve(np.zeros((1, 1)), np.ones(1)), "Singular matrix"),
        # What one processor cannot factorise, another does, and divides by.
        (lambda: np.array([1e300]) / 1e-300, "overflow"),
        (lambda: np.ones(1) / np.zeros(1), "divide by zero"),
        (lambda: np.array([np.inf]) - np.inf, "invalid value"),
    ],
)
def test_what_doubles_cannot_solve_is_one_clear_error(compute, found):
    with (
        pytest.raises(NeuralCollapseError, match=f"beta: expected strengths above.*{found}"),
        regular_systems("beta"),
    ):
        compute()


def test_what_vanishes_is_no_error():
    with regular_systems("beta"):
        assert np.array([1e-300]) * 1e-300 == 0

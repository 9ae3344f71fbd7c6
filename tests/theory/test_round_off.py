import numpy as np
import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory import near_features_minimizer
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


@pytest.mark.parametrize("method", ["newton", "alternating"])
@pytest.mark.parametrize("size", [1e100, 1e104, 1e140])
def test_large_features_are_no_error(size, method):
    frame = torch.eye(2, dtype=torch.float64)
    found = near_features_minimizer(size * frame, [0, 1], 0.5, 0.1, 3.0, method=method)
    assert found.status == "unique"
    # The features stay where they are, up to the shrinkage beta / (beta + lambda_H).
    assert (found.H / size - 3 / 3.1 * frame).abs().max() < 1e-9
    assert found.value / size / size == pytest.approx(3 * 0.1 / 3.1 / 2, rel=1e-9)

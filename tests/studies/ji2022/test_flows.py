import numpy as np
import pytest
import torch

from neuralcollapse.studies.ji2022.flows import Problem, exponent


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("problem", [Problem(), Problem(3, 2, 2), Problem(5, 1, 7)])
def test_a_balanced_start_conserves_nothing(problem, seed):
    W, H = problem.start("balanced", seed)
    assert W.shape == (problem.num_classes, problem.dim)
    assert H.shape == (problem.num_classes * problem.per_class, problem.dim)
    torch.testing.assert_close(W.sum(0), torch.zeros(problem.dim).double(), atol=1e-13, rtol=0)
    torch.testing.assert_close(W.T @ W, H.T @ H, atol=1e-12, rtol=0)
    generic, _ = problem.start("generic", seed)
    torch.testing.assert_close(W, generic - generic.mean(0))


def test_the_seed_decides_the_start():
    problem = Problem()
    for kind in ("generic", "balanced"):
        first, again, other = (problem.start(kind, seed) for seed in (3, 3, 4))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_exponent_of_a_power_law_is_found_within_the_range_only():
    x = np.geomspace(1, 1e6, 50)
    y = np.where(x < 100, x**3, 7 * x**-0.5)
    assert exponent(x, y, 100, 1e6) == pytest.approx(-0.5, abs=1e-12)
    assert exponent(x, y, 1, 90) == pytest.approx(3, abs=1e-12)

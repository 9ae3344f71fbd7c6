from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.geometry import align, random_isometry, simplex_etf
from neuralcollapse.geometry.alignment import hungarian_permutation, procrustes_rotation


def fit(head, means):
    """The objective, entry by entry."""
    centered = means - means.mean(0)
    return sum(float(c @ m) for c, m in zip(centered, head, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_hungarian_is_the_best_and_the_worst_of_all_permutations(seed):
    generator = torch.Generator().manual_seed(seed)
    head = simplex_etf(5, 6, generator=generator)
    means = 2 + torch.randn(5, 6, generator=generator, dtype=torch.float64)
    values = [fit(head[list(order)], means) for order in permutations(range(5))]
    assert fit(align(head, means, "hungarian"), means) == pytest.approx(max(values), abs=1e-12)
    assert fit(align(head, means, "anti-hungarian"), means) == pytest.approx(min(values), abs=1e-12)


@given(seed=st.integers(0, 2**16), dim=st.sampled_from([4, 7]))
def test_no_rotation_fits_better_than_procrustes(seed, dim):
    generator = torch.Generator().manual_seed(seed)
    head = simplex_etf(5, dim, generator=generator)
    means = torch.randn(5, dim, generator=generator, dtype=torch.float64)
    rotation = procrustes_rotation(head, means)
    identity = torch.eye(dim, dtype=torch.float64)
    torch.testing.assert_close(rotation @ rotation.T, identity, atol=1e-12, rtol=0)
    best = fit(align(head, means, "procrustes"), means)
    centered = means - means.mean(0)
    nuclear = torch.linalg.svdvals(centered.T @ head).sum()
    assert best == pytest.approx(float(nuclear), rel=1e-12)  # von Neumann's trace inequality
    for _ in range(20):
        other = head @ random_isometry(dim, dim, generator)
        assert fit(other, means) <= best + 1e-12


def test_every_permutation_of_an_etf_is_a_rotation(generator):
    head = simplex_etf(6, 8, generator=generator)
    for _ in range(10):
        order = torch.randperm(6, generator=generator)
        rotation = procrustes_rotation(head, head[order])
        torch.testing.assert_close(head @ rotation.T, head[order], atol=1e-13, rtol=0)


def test_a_rotated_head_is_brought_back(generator):
    head = simplex_etf(4, 9, generator=generator)
    turned = head @ random_isometry(9, 9, generator)
    torch.testing.assert_close(align(turned, 5 + 3 * head, "procrustes"), head, atol=1e-12, rtol=0)
    shuffled = head[torch.randperm(4, generator=generator)]
    assert torch.equal(align(shuffled, 5 + 3 * head, "hungarian"), head)


@given(seed=st.integers(0, 2**16), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_the_assignment_ignores_scale_and_origin_of_the_means(seed, scale, shift):
    generator = torch.Generator().manual_seed(seed)
    head = simplex_etf(5, 6, generator=generator)
    means = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    moved = hungarian_permutation(head, shift + scale * means)
    assert torch.equal(moved, hungarian_permutation(head, means))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: align(torch.eye(2), torch.eye(2), "qap"),
            "rule: expected one of hungarian.*'qap'",
        ),
        (
            lambda: hungarian_permutation(torch.eye(1), torch.eye(1)),
            "vertices: expected at least 2",
        ),
        (lambda: procrustes_rotation(torch.eye(3), torch.eye(2)), r"means: expected shape \(3"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="means: expected finite numbers, got 1 NaN"):
        align(torch.eye(2), torch.tensor([[0.0, float("nan")], [1.0, 0.0]]), "hungarian")

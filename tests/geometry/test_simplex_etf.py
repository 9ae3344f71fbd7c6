import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.geometry import (
    etf_gram,
    nearest_etf,
    simplex_encoded_labels,
    simplex_encoded_spectrum,
    simplex_etf,
    standard_simplex,
)

SIZES = [(2, 1), (2, 2), (3, 2), (4, 9), (10, 9), (10, 10), (10, 35)]
CASES = [
    (k, d, orientation)
    for k, d in SIZES
    for orientation in ("haar", "axis", "block")
    if orientation != "block" or d >= k
]


@pytest.mark.parametrize(("k", "d", "orientation"), CASES)
def test_gram_is_that_of_the_definition(k, d, orientation, generator):
    vertices = simplex_etf(k, d, orientation, generator)
    for i in range(k):
        for j in range(k):
            expected = 1.0 if i == j else -1 / (k - 1)
            assert float(vertices[i] @ vertices[j]) == pytest.approx(expected, abs=1e-13)
    torch.testing.assert_close(vertices @ vertices.T, etf_gram(k), atol=1e-13, rtol=0)
    torch.testing.assert_close(vertices.sum(0), torch.zeros(d).double(), atol=1e-13, rtol=0)


def test_axis_and_block_lean_on_their_own_coordinates():
    assert simplex_etf(3, 7, "axis").argmax(1).tolist() == [0, 1, 2]
    block = simplex_etf(3, 7, "block")
    for k in range(3):
        assert (block[k, 2 * k : 2 * k + 2] == block[k].max()).all()
    assert (block[:, 6] == 0).all()


def test_haar_is_uniform_on_the_sphere():
    generator = torch.Generator().manual_seed(1)
    first = torch.stack([simplex_etf(3, 4, generator=generator)[0] for _ in range(4000)])
    second_moment = first.T @ first / 4000
    # Each entry is a mean of 4000 products of variance at most 1/8: five standard errors.
    torch.testing.assert_close(second_moment, torch.eye(4).double() / 4, atol=0.028, rtol=0)
    torch.testing.assert_close(first.mean(0), torch.zeros(4).double(), atol=0.04, rtol=0)


def test_generator_and_dtype_are_honoured():
    draws = [simplex_etf(5, 8, generator=torch.Generator().manual_seed(s)) for s in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert simplex_etf(5, 8, dtype=torch.float32).dtype == torch.float32
    assert draws[0].dtype == torch.float64


@given(
    size=st.sampled_from(SIZES),
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-10, 10),
    seed=st.integers(0, 2**16),
)
def test_an_etf_is_its_own_nearest(size, scale, shift, seed):
    vertices = simplex_etf(*size, generator=torch.Generator().manual_seed(seed))
    nearest = nearest_etf(shift + scale * vertices)
    assert nearest.distance < 1e-10
    assert nearest.scale == pytest.approx(scale, rel=1e-10)
    torch.testing.assert_close(nearest.vertices, vertices, atol=1e-10, rtol=0)
    k = size[0]
    torch.testing.assert_close(standard_simplex(k) @ nearest.rotation, nearest.vertices)
    identity = torch.eye(k - 1).double()
    torch.testing.assert_close(nearest.rotation @ nearest.rotation.T, identity)


def test_no_other_frame_is_nearer(generator):
    points = torch.randn(4, 5, generator=generator).double()
    nearest = nearest_etf(points)
    centered = points - points.mean(0)
    norm = centered.norm()
    assert nearest.distance == pytest.approx(
        float((centered - nearest.scale * nearest.vertices).norm() / norm)
    )
    for _ in range(300):
        other = simplex_etf(4, 5, generator=generator)
        scale = float((centered * other).sum() / (other * other).sum())
        assert float((centered - scale * other).norm() / norm) >= nearest.distance
    for factor in (0.99, 1.01):
        residual = centered - factor * nearest.scale * nearest.vertices
        assert float(residual.norm() / norm) > nearest.distance


def test_distance_of_a_square_by_hand():
    # K = 4 points +-e1, +-e2: centred Gram has singular values sqrt 2, sqrt 2, so the fit explains
    # (2 sqrt 2)^2 / (4 * 3) of the squared norm 4, up to the normalisation ||S||^2 = K.
    square = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    assert nearest_etf(square).distance == pytest.approx(math.sqrt(1 - 2 / 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simplex_etf(1, 4), "num_classes: expected at least 2, got 1"),
        (lambda: simplex_etf(5, 3), "dim: expected dim >= num_classes - 1 = 4, got dim = 3"),
        (lambda: simplex_etf(4, 3, "block"), "expected dim >= num_classes = 4 for the block"),
        (lambda: etf_gram(1), "num_classes: expected at least 2"),
        (lambda: nearest_etf(torch.randn(5, 3)), "dim >= num_classes - 1 = 4"),
        (lambda: nearest_etf(torch.ones(3, 4)), "points: expected at least two distinct points"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_an_unknown_orientation_is_refused():
    with pytest.raises(
        NeuralCollapseError, match="expected one of haar, axis, block, got 'diagonal'"
    ):
        inspect.unwrap(simplex_etf)(3, 4, "diagonal")  # below the type check of the test run


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="points: expected finite numbers, got 1 NaN"):
        nearest_etf(torch.tensor([[0.0, 1.0], [float("nan"), 0.0]]))


@pytest.mark.untyped
def test_sizes_may_be_numbers_of_any_kind():
    for size in (3.0, np.float32(3), torch.tensor(3)):
        torch.testing.assert_close(nc.etf_gram(size), nc.etf_gram(3))
        assert nc.simplex_etf(size, 4).shape == (3, 4)
    with pytest.raises(NeuralCollapseError, match="num_classes: expected a whole number"):
        simplex_encoded_labels([0, 1], num_classes=float("nan"))
    with pytest.raises(NeuralCollapseError, match="class_sizes: expected whole numbers"):
        simplex_encoded_spectrum([2**62, 2**61 + 1])

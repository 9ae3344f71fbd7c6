import importlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import naive_collapse as naive
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.geometry import etf_gram, simplex_etf
from neuralcollapse.metrics import (
    equiangularity,
    equinorm,
    etf_distance,
    gram_distance,
    pairs,
    uniformity,
)

# The function of that name hides the module.
MODULE = importlib.import_module("neuralcollapse.metrics.equiangularity")

METRICS = {
    "equinorm": equinorm,
    "equinorm ddof": lambda v, c=None: equinorm(v, c, ddof=1),
    "equiangularity": equiangularity,
    "equiangularity std": lambda v, c=None: equiangularity(v, c, "std"),
    "equiangularity max": lambda v, c=None: equiangularity(v, c, "max"),
    "etf_distance": etf_distance,
    "gram_distance": lambda v, c=None: gram_distance(
        v, torch.diag(torch.arange(1.0, len(v) + 1)), c
    ),
    "uniformity mean": lambda v, c=None: uniformity(v, c)[0],
    "uniformity variance": lambda v, c=None: uniformity(v, c)[1],
}
REFERENCES = {
    "equinorm": naive.equinorm,
    "equinorm ddof": lambda v, c=None: naive.equinorm(v, c, ddof=1),
    "equiangularity": naive.equiangularity,
    "equiangularity std": lambda v, c=None: naive.equiangularity(v, c, "std"),
    "equiangularity max": lambda v, c=None: naive.equiangularity(v, c, "max"),
    "etf_distance": naive.etf_distance,
    "gram_distance": lambda v, c=None: naive.gram_distance(v, np.diag(np.arange(1, len(v) + 1)), c),
    "uniformity mean": lambda v, c=None: naive.uniformity(v, c)[0],
    "uniformity variance": lambda v, c=None: naive.uniformity(v, c)[1],
}


def atol(name):
    return 1e-7 if "std" in name else 1e-12  # the root of a variance of 1e-16


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("raw", [False, True])
def test_as_defined(name, raw, case):
    for vectors in case.present_rows:
        if "uniformity" in name and vectors.shape[1] == 1:
            continue  # on a line, directions coincide: see the degenerate cases
        center = torch.zeros(vectors.shape[1]).double() if raw else None
        expected = REFERENCES[name](vectors, center)
        assert METRICS[name](vectors, center) == pytest.approx(expected, rel=1e-9, abs=atol(name))


@pytest.mark.parametrize(("tile", "direct"), [(1, 1), (2, 3), (3, 2), (4, 5)])
def test_tiles_of_any_size_agree(tile, direct, case, monkeypatch):
    monkeypatch.setattr(pairs, "TILE", tile)
    monkeypatch.setattr(MODULE, "DIRECT_CLASSES", direct)
    means, _ = case.present_rows
    for name in ("equiangularity", "equiangularity std", "equiangularity max", "etf_distance"):
        expected = REFERENCES[name](means)
        assert METRICS[name](means) == pytest.approx(expected, rel=1e-9, abs=atol(name))


# ------------------------------------------------------------------ invariances


@pytest.mark.parametrize("name", METRICS)
@given(seed=st.integers(0, 100), scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
def test_rotation_scale_shift_and_order_change_nothing(name, seed, scale, shift):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    order = torch.randperm(5, generator=generator) if name != "gram_distance" else torch.arange(5)
    moved = scale * (vectors @ rotation + shift)[order]
    assert METRICS[name](moved) == pytest.approx(METRICS[name](vectors), rel=1e-8)


@given(seed=st.integers(0, 100))
def test_ranges(seed):
    vectors = torch.randn(5, 6, generator=torch.Generator().manual_seed(seed))
    zero = torch.zeros(6)
    assert 0 <= equinorm(vectors) <= math.sqrt(5)
    assert 0 <= equiangularity(vectors) <= equiangularity(vectors, reduce="max") <= 2
    assert 0 <= etf_distance(vectors) <= math.sqrt(2)
    assert 0 <= etf_distance(vectors, zero) <= 2
    assert 0 <= gram_distance(vectors, torch.eye(5)) <= math.sqrt(2)
    assert uniformity(vectors)[0] >= -math.log(2 * 5 / 4) / 2
    assert uniformity(vectors)[1] >= 0


# ---------------------------------------------------------------- exact answers


@pytest.mark.parametrize(("num_classes", "dim"), [(2, 1), (3, 2), (4, 9), (10, 9)])
@pytest.mark.parametrize("name", METRICS)
def test_a_simplex_etf_gives_the_collapsed_value(name, num_classes, dim):
    vectors = 7 + 0.01 * simplex_etf(num_classes, dim)
    expected = {
        "uniformity mean": -0.5 * math.log(2 * num_classes / (num_classes - 1)),
        "gram_distance": naive.gram_distance(
            np.asarray(simplex_etf(num_classes, dim)), np.diag(np.arange(1.0, num_classes + 1))
        ),
    }.get(name, 0.0)
    # vectors known to 1e-16 of 7 have directions known to 1e-13
    assert METRICS[name](vectors) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_head_of_any_dtype(dtype):
    vectors = (simplex_etf(4, 5) * 3).to(dtype)
    for name, metric in METRICS.items():
        expected = REFERENCES[name](vectors.double())
        assert metric(vectors) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_other_targets():
    assert gram_distance(simplex_etf(4, 5), 9 * etf_gram(4)) == pytest.approx(0, abs=1e-14)
    # Orthogonal frame against ETF: cos of the two Gram matrices is sqrt((K-1)/K).
    distance = gram_distance(torch.eye(4), etf_gram(4), center=torch.zeros(4))
    assert distance == pytest.approx(math.sqrt(2 - 2 * math.sqrt(3 / 4)))


def test_points_of_a_square_by_hand():
    square = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    # cosines -1 (2 pairs) and 0 (4 pairs), against -1/3
    assert equiangularity(square) == pytest.approx((2 * 2 / 3 + 4 / 3) / 6)
    assert equiangularity(square, reduce="std") == pytest.approx(math.sqrt(2 / 9))
    assert equinorm(square) == 0
    # G has norm sqrt 8 and <G, I - J> = 4, so distance^2 = 2 - 2 * 4 / sqrt(24)
    assert etf_distance(square) == pytest.approx(math.sqrt(2 - 8 / math.sqrt(24)))
    energies = [math.log(1 / 2)] * 2 + [math.log(1 / math.sqrt(2))] * 4
    assert uniformity(square) == pytest.approx((np.mean(energies), np.var(energies)))


@pytest.mark.parametrize("noise", [1e-2, 1e-4, 1e-5, 1e-8, 0.0])
@pytest.mark.parametrize("num_classes", [7, 16])
def test_closed_form_and_tiles_of_the_etf_distance_meet(noise, num_classes, monkeypatch):
    # Either side of the distance where the closed form loses digits and tiles take over.
    generator = torch.Generator().manual_seed(0)
    vectors = simplex_etf(num_classes, 20, generator=generator)
    vectors += noise * torch.randn(num_classes, 20, generator=generator)
    expected = naive.etf_distance(vectors)
    monkeypatch.setattr(MODULE, "DIRECT_CLASSES", 5)
    assert etf_distance(vectors) == pytest.approx(expected, rel=1e-6, abs=1e-14)


# ------------------------------------------------------------- degenerate inputs


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("name", METRICS)
def test_equal_vectors_are_neither_collapsed_nor_not(name, value):
    assert math.isnan(METRICS[name](torch.full((3, 4), value)))


@pytest.mark.parametrize("reduce", ["mean", "std", "max"])
def test_a_zero_vector_has_no_angle(reduce):
    vectors = torch.tensor([[1.0, 0], [-1, 0], [0, 0]])
    assert math.isnan(equiangularity(vectors, reduce=reduce))
    for name in ("equinorm", "etf_distance"):
        assert METRICS[name](vectors) == pytest.approx(REFERENCES[name](vectors))


def test_equal_directions_have_infinite_energy():
    assert uniformity(torch.tensor([[1.0], [2.0], [-3.0]]))[0] == math.inf


@pytest.mark.parametrize("name", METRICS)
def test_bad_vectors_are_refused(name):
    with pytest.raises(NeuralCollapseError, match="expected at least 2 class vectors, got 1"):
        METRICS[name](torch.ones(1, 3))
    with pytest.raises(NonFiniteError, match="vectors: expected finite numbers, got 3 NaN"):
        METRICS[name](torch.tensor([[0.0, 1, 2], [math.nan] * 3]))
    with pytest.raises(NeuralCollapseError, match="vectors: expected a matrix"):
        METRICS[name](torch.ones(3))


def test_a_target_of_another_size_is_refused():
    with pytest.raises(NeuralCollapseError, match=r"target: .* \(3, 3\), got \(2, 2\)"):
        gram_distance(torch.randn(3, 4), torch.eye(2))


def test_vectors_that_coincide_are_left_out_of_the_energy():
    rows = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 0], [-3, -1]])
    units = [row / row.norm() for row in rows.double() if row.norm() > 0]
    energies = [
        -math.log(float((units[i] - units[j]).norm()))
        for i in range(4)
        for j in range(i)
        if {i, j} != {0, 1}
    ]
    mean, variance = uniformity(rows, center=torch.zeros(2))
    assert mean == pytest.approx(np.mean(energies))
    assert variance == pytest.approx(np.var(energies))
    assert all(map(math.isnan, uniformity(torch.ones(3, 2))))

import importlib
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import naive_collapse as naive
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.metrics import product_duality, self_duality

# The function of that name hides the module.
MODULE = importlib.import_module("neuralcollapse.metrics.equiangularity")
VARIANTS = ["distance", "squared", "cosine"]


@pytest.mark.parametrize("center_head", [True, False])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("variant", [*VARIANTS, "product"])
def test_as_defined(case, center_head, raw, variant):
    means, weight = case.present_rows
    center = torch.ones(means.shape[1]).double() if raw else None
    if variant == "product":
        actual = product_duality(weight, means, center, center_head)
        expected = naive.product_duality(weight, means, center, center_head)
    else:
        actual = self_duality(weight, means, center, center_head, variant)
        expected = naive.self_duality(weight, means, center, center_head, variant)
    assert actual == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("num_classes", [6, 11])
def test_large_heads_take_the_closed_form(num_classes, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    means, weight = torch.randn(2, num_classes, 20, generator=generator).double()
    for head in (weight, means, torch.linalg.pinv(means - means.mean(0)).T):
        expected = naive.product_duality(head, means)
        with monkeypatch.context() as patch:
            patch.setattr(MODULE, "DIRECT_CLASSES", 4)
            actual = product_duality(head, means)
        assert actual == pytest.approx(expected, rel=1e-7, abs=1e-13)


@given(seed=st.integers(0, 100), a=st.floats(1e-3, 1e3), b=st.floats(1e-3, 1e3), s=st.floats(-5, 5))
def test_joint_rotation_scales_shifts_and_order_change_nothing(seed, a, b, s):
    generator = torch.Generator().manual_seed(seed)
    means, weight = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    order = torch.randperm(4, generator=generator)
    moved = (a * (weight + s) @ rotation)[order], (b * (means - s) @ rotation)[order]
    assert product_duality(*moved) == pytest.approx(product_duality(weight, means), rel=1e-9)
    for variant in VARIANTS:
        expected = self_duality(weight, means, variant=variant)
        assert self_duality(*moved, variant=variant) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("num_classes", "dim"), [(2, 1), (3, 2), (4, 9)])
def test_collapse_is_zero_and_its_opposite_is_two(num_classes, dim):
    vertices = simplex_etf(num_classes, dim)
    for variant in VARIANTS:
        assert self_duality(3 * vertices - 1, 2 + vertices, variant=variant) == pytest.approx(
            0, abs=1e-14
        )
    assert product_duality(3 * vertices - 1, 2 + vertices) == pytest.approx(0, abs=1e-13)
    assert self_duality(-vertices, vertices) == pytest.approx(2)
    assert self_duality(-vertices, vertices, variant="squared") == pytest.approx(4)
    assert self_duality(-vertices, vertices, variant="cosine") == pytest.approx(2)
    assert product_duality(-vertices, vertices) == pytest.approx(2)


def test_the_product_can_vanish_where_the_two_point_elsewhere():
    vertices = simplex_etf(4, 4, "axis")
    stretch = torch.diag(torch.tensor([30.0, 1.0, 0.2, 5.0])).double()
    weight, means = vertices @ stretch, vertices @ stretch.inverse()
    assert product_duality(weight, means) == pytest.approx(0, abs=1e-13)
    assert self_duality(weight, means) > 1


def test_a_zero_head_points_nowhere():
    means = simplex_etf(3, 4)
    for variant in ("distance", "squared"):
        assert math.isnan(self_duality(torch.ones(3, 4), means, variant=variant))
    assert math.isnan(product_duality(torch.ones(3, 4), means))


@pytest.mark.parametrize("metric", [self_duality, product_duality])
def test_bad_input_is_refused(metric):
    message = r"weight: expected shape \(3, 4\), got \(3, 5\); pass one row"
    with pytest.raises(NeuralCollapseError, match=message):
        metric(torch.randn(3, 5), torch.randn(3, 4))
    with pytest.raises(NonFiniteError, match="expected finite numbers, got 4 NaN"):
        metric(torch.randn(3, 4), torch.tensor([[1.0] * 4, [2.0] * 4, [math.nan] * 4]))


@pytest.mark.parametrize("variant", [*VARIANTS, "uniform_cosine"])
def test_short_rows_have_a_direction_too(variant):
    vertices = simplex_etf(4, 6)
    means = vertices + 0.1 * torch.eye(4, 6).double()
    expected = self_duality(vertices, means, variant=variant)
    assert self_duality(1e-12 * vertices, 1e-9 * means, variant=variant) == pytest.approx(expected)

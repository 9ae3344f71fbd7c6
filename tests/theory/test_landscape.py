import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.theory import (
    LayerPeeledModel,
    escape_direction,
    kkt_residuals,
    origin_spectrum,
    paired_kkt_point,
    polygon_kkt_point,
    separation_optimum,
    simplex_groups_kkt_point,
)
from neuralcollapse.theory.kkt import dual_matrix

# Point, value, singular values of its dual matrix, by the closed forms worked out by hand.
GOLDEN = (1 + math.sqrt(5)) / 2
POINTS = {
    "paired": (paired_kkt_point(), 4.0, [2, 1, 1, 0]),
    "paired, n = 9, d = 5": (paired_kkt_point(9, 5), 12.0, [2, 1, 1, 0]),
    "square": (polygon_kkt_point(4), 4.0, [2, 1, 1, 0]),
    "pentagon, n = 2": (polygon_kkt_point(5, 2), 10.233345, [GOLDEN**2, GOLDEN**2, 1, 1, 0]),
    "hexagon": (polygon_kkt_point(6), 12.0, [4, 3, 3, 1, 1, 0]),
    "3 + 3": (simplex_groups_kkt_point([3, 3]), 6.0, [2, 1, 1, 1, 1, 0]),
    "2 + 3": (simplex_groups_kkt_point([2, 3]), 5.0, [math.sqrt(25 / 6), 1, 1, 1, 0]),
    "2 + 2 + 4": (simplex_groups_kkt_point([2, 2, 4], 3), 8 * math.sqrt(3), None),
}
EQUAL_MULTIPLIERS = [name for name in POINTS if name not in ("2 + 3", "2 + 2 + 4")]


def on_sphere_curvature(model, W, H, dW, dH):
    """Second derivative of log L along a great circle in the unit direction (dW, dH)."""
    along_w, along_h = model.log_hvp(W, H, dW, dH)
    grad_w, grad_h = model.log_gradient(W, H)
    radial = (grad_w * W).sum() + (grad_h * H).sum()
    return float(
        (along_w * dW).sum() + (along_h * dH).sum() - radial / (W.square().sum() + H.square().sum())
    )


@pytest.mark.parametrize("name", POINTS)
def test_kkt_points_satisfy_every_condition_with_the_value_expected(name):
    point, value, singular = POINTS[name]
    found = kkt_residuals(point.W, point.H, point.labels, point.multipliers)
    assert found.largest < 1e-14
    assert point.value == pytest.approx(value, rel=1e-7)
    assert float(point.multipliers.sum()) == pytest.approx(point.value, rel=1e-13)
    assert float(point.W.square().sum() + point.H.square().sum()) / 2 == pytest.approx(point.value)
    assert point.value > separation_optimum(torch.bincount(point.labels), len(point.W)).value
    if singular:
        dense = torch.linalg.svdvals(dual_matrix(point.multipliers, point.labels))
        assert dense.tolist() == pytest.approx(singular, abs=1e-13)


@given(k=st.integers(4, 12), n=st.integers(1, 4))
def test_the_polygon_has_the_spectral_norm_of_its_fourier_modes(k, n):
    point = polygon_kkt_point(k, n)
    found = escape_direction(point.W, point.H, point.labels, point.multipliers)
    gaps = [1 - math.cos(2 * math.pi * m / k) for m in range(k)]
    assert found.spectral_norm / found.multiplier == pytest.approx(max(gaps) / gaps[1], rel=1e-12)
    assert found.rate == pytest.approx((max(gaps) / gaps[1] - 1) / 2, rel=1e-12)
    assert found.status == "escape"


@pytest.mark.parametrize("scale", [1.0, 3.0, 30.0])
@pytest.mark.parametrize("name", EQUAL_MULTIPLIERS)
def test_the_escape_has_the_curvature_claimed_at_any_scale(name, scale):
    point = POINTS[name][0]
    W, H, labels = scale * point.W, scale * point.H, point.labels
    found = escape_direction(W, H, labels)
    assert found.status == "escape"
    assert found.stationarity < 1e-11
    dW, dH = found.dW, found.dH
    assert float(dW.square().sum() + dH.square().sum()) == pytest.approx(1.0)
    assert float((W * dW).sum() + (H * dH).sum()) == pytest.approx(0.0, abs=1e-12)
    model = LayerPeeledModel(labels, W.shape[1])
    measured = on_sphere_curvature(model, W, H, dW, dH)
    assert measured == pytest.approx(found.curvature, rel=1e-9)
    assert measured < 0

    # Along it the logits change by -delta^2 u v^T / 2 exactly: rank one, and no first-order term.
    change = (H + 0.1 * dH) @ (W + 0.1 * dW).T - H @ W.T
    expected = [0.005] + [0.0] * (len(W) - 1)
    assert torch.linalg.svdvals(change).tolist() == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("name", POINTS)
def test_kkt_numbers_are_the_limit_of_those_of_the_loss(name):
    point = POINTS[name][0]
    limit = escape_direction(point.W, point.H, point.labels, point.multipliers)
    assert limit.status == "escape"
    far = escape_direction(30 * point.W, 30 * point.H, point.labels)
    if name in EQUAL_MULTIPLIERS:
        assert far.curvature == pytest.approx(limit.curvature, rel=1e-9)
        assert far.rate == pytest.approx(limit.rate, rel=1e-9)
    else:
        # A direction of the limit that no sphere has as a critical point: unequal multipliers.
        assert far.status == "not critical"
        assert far.stationarity > 0.1
        assert not far.dW.any()


def test_the_loss_falls_along_the_great_circle_as_the_curvature_says():
    point = polygon_kkt_point(5)
    W, H = 2 * point.W, 2 * point.H
    found = escape_direction(W, H, point.labels)
    model = LayerPeeledModel(point.labels, W.shape[1])
    radius = math.sqrt(float(W.square().sum() + H.square().sum()))

    def log_loss(arc):
        c, s = math.cos(arc / radius), radius * math.sin(arc / radius)
        return model.log_loss(c * W + s * found.dW, c * H + s * found.dH)

    second = (log_loss(1e-3) - 2 * log_loss(0.0) + log_loss(-1e-3)) / 1e-6
    assert second == pytest.approx(found.curvature, rel=1e-4)
    assert log_loss(0.5) < log_loss(0.0)


@pytest.mark.parametrize(
    ("sizes", "dim"), [([1, 1], 1), ([3] * 4, 3), ([2] * 3, 6), ([5, 2, 1], 2)]
)
def test_the_optimum_is_recognised(sizes, dim):
    best = separation_optimum(sizes, dim)
    found = escape_direction(best.W, best.H, best.labels, best.multipliers)
    assert found.status == "global optimum"
    assert found.spectral_norm == pytest.approx(found.multiplier, rel=1e-12)
    assert found.curvature == 0.0
    if len(set(sizes)) == 1:
        assert escape_direction(4 * best.W, 4 * best.H, best.labels).status == "global optimum"


def test_the_antipode_of_the_optimum_is_left_by_unbalancing_the_factors():
    best = separation_optimum([2] * 3, 2)
    found = escape_direction(-2 * best.W, 2 * best.H, best.labels)
    assert found.status == "escape"
    assert found.multiplier < 0
    model = LayerPeeledModel(best.labels, 2)
    measured = on_sphere_curvature(model, -2 * best.W, 2 * best.H, found.dW, found.dH)
    assert measured == pytest.approx(found.curvature, rel=1e-12)
    assert found.curvature == pytest.approx(2 * found.multiplier, rel=1e-15)


@pytest.mark.parametrize(("sizes", "dim"), [([1, 1], 1), ([3, 3, 3], 2), ([4, 2, 1], 3)])
def test_the_origin_has_the_spectrum_of_the_encoded_labels(sizes, dim):
    k, n = len(sizes), sum(sizes)
    labels = np.repeat(np.arange(k), sizes)
    model = LayerPeeledModel(labels, dim)
    zero = torch.zeros(k, dim), torch.zeros(n, dim)
    columns = []
    for unit in torch.eye((k + n) * dim):
        pair = model.hvp(*zero, unit[: k * dim].view(k, dim), unit[k * dim :].view(n, dim))
        columns.append(torch.cat([part.flatten() for part in pair]))
    dense = torch.linalg.eigvalsh(torch.stack(columns))
    torch.testing.assert_close(origin_spectrum(sizes, dim), dense, atol=1e-13, rtol=0)


@pytest.mark.parametrize(
    ("point", "exponent"),
    [(polygon_kkt_point(4, 2), 0.5), (polygon_kkt_point(5), GOLDEN**2 / 2 - 0.5)],
    ids=["square", "pentagon"],
)
def test_the_flow_leaves_a_suboptimal_kkt_point_with_the_rate_predicted(point, exponent):
    # ds = L dt; the margin grows as log t, so the fit is of the escape against the margin.
    model = LayerPeeledModel(point.labels, point.W.shape[1])
    W, H = 3 * point.W, 3 * point.H
    found = escape_direction(W, H, point.labels)
    k, d = W.shape
    start = torch.cat([W + 1e-6 * found.dW, H + 1e-6 * found.dH])

    def downhill(_, state):
        theta = torch.from_numpy(state).view(-1, d)
        return -torch.cat(model.log_gradient(theta[:k], theta[k:])).flatten().numpy()

    # The margin is e^{2 kappa s}: until it has grown a hundredfold.
    end = math.log(100) / (2 * found.multiplier)
    times = np.linspace(end / 2, end, 20)
    flow = solve_ivp(
        downhill, (0, end), start.flatten().numpy(), "DOP853", times, rtol=1e-10, atol=1e-14
    )
    escape = torch.cat([found.dW, found.dH]).flatten().numpy() @ flow.y
    relative = np.log(escape / np.linalg.norm(flow.y, axis=0))
    margin = [float(model.margins(*x.split([k, len(H)])).min()) for x in _pairs(flow.y, d)]
    slope = np.polyfit(np.log(margin), relative, 1)[0]
    assert slope == pytest.approx(exponent, rel=2e-3)
    limit = escape_direction(point.W, point.H, point.labels, point.multipliers)
    assert limit.rate == pytest.approx(exponent, rel=1e-12)


def _pairs(states, d):
    return [torch.from_numpy(state.copy()).view(-1, d) for state in states.T]


POINT = paired_kkt_point()
EYE = torch.eye(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: escape_direction(torch.ones(3, 1), torch.ones(3, 1), [0, 1, 2]), "dim >= .* = 2"),
        (lambda: escape_direction(0 * EYE, 0 * EYE, [0, 1]), "other than the origin"),
        (lambda: escape_direction(0 * EYE, EYE * 0 + 1, [0, 1]), r"loss itself \(kappa = "),
        (lambda: escape_direction(EYE, EYE, [0, 1], tolerance=0.0), "tolerance: .* above 0"),
        (lambda: escape_direction(EYE, EYE, [1, 0], EYE), "positive margins"),
        (lambda: origin_spectrum([2, 0], 2), r"class_sizes: .*got \[2, 0\]"),
        (lambda: origin_spectrum([2, 1], 0), "dim: expected at least 1, got 0"),
        (lambda: polygon_kkt_point(3), "at least 4 classes, got 3"),
        (lambda: polygon_kkt_point(5, 0), "samples_per_class: expected at least 1, got 0"),
        (lambda: polygon_kkt_point(5, 1, 1), "dim >= 2, got dim = 1"),
        (lambda: simplex_groups_kkt_point([4]), r"two groups of at least 2 classes, got \[4\]"),
        (lambda: simplex_groups_kkt_point([2, 1]), r"got \[2, 1\]"),
        (lambda: simplex_groups_kkt_point([3, 3], dim=3), "dim >= 4, got dim = 3"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="W: expected finite"):
        escape_direction(EYE * math.nan, EYE, [0, 1])

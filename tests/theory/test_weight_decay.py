import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory import (
    LayerPeeledModel,
    paired_critical_point,
    paired_kkt_point,
    simplex_groups_kkt_point,
    weight_decay_escape,
    weight_decay_optimum,
)

# K, n, d, lambda_w, lambda_h, zero modes
CASES = [
    (2, 1, 1, 0.1, 0.1, 0),
    (2, 3, 2, 0.02, 0.05, 1),
    (3, 2, 2, 0.01, 0.04, 1),
    (3, 1, 4, 0.03, 0.01, 5),
    (4, 2, 3, 0.02, 0.02, 3),
]


class Regularized:
    """f over the flat vector of all unknowns, written from the definition."""

    def __init__(self, labels, k, d, lambda_w, lambda_h):
        self.model, self.k, self.d = LayerPeeledModel(labels, d, k), k, d
        self.strengths = lambda_w, lambda_h

    def split(self, x):
        x = torch.as_tensor(x, dtype=torch.float64).view(-1, self.d)
        return x[: self.k], x[self.k :]

    def value(self, x):
        squares = [float(part.square().sum()) for part in self.split(x)]
        penalty = sum(s * q for s, q in zip(self.strengths, squares, strict=True)) / 2
        return self.model.loss(*self.split(x)) / len(self.model.labels) + penalty

    def gradient(self, x):
        pairs = zip(self.strengths, self.split(x), self.model.gradient(*self.split(x)), strict=True)
        return np.concatenate([(g / len(self.model.labels) + s * p).flatten() for s, p, g in pairs])

    def spectrum(self, x):
        columns = []
        for unit in torch.eye(len(x)):
            curved = self.model.hvp(*self.split(x), *self.split(unit))
            pairs = zip(self.strengths, self.split(unit), curved, strict=True)
            columns.append(
                torch.cat([(g / len(self.model.labels) + s * p).flatten() for s, p, g in pairs])
            )
        return torch.linalg.eigvalsh(torch.stack(columns)).numpy()


def flat(W, H):
    return torch.cat([W, H]).flatten().numpy()


@pytest.mark.parametrize(("k", "n", "d", "lambda_w", "lambda_h", "modes"), CASES)
def test_the_optimum_is_the_one_that_descent_finds(k, n, d, lambda_w, lambda_h, modes):
    best = weight_decay_optimum(k, n, d, lambda_w, lambda_h)
    f = Regularized(best.labels, k, d, lambda_w, lambda_h)
    x = flat(best.W, best.H)
    assert best.status == "collapsed"
    assert abs(f.gradient(x)).max() < 1e-15
    assert f.value(x) == pytest.approx(best.value, rel=1e-14)
    margins = f.model.margins(best.W, best.H)
    torch.testing.assert_close(margins, torch.full_like(margins, best.margin))
    ratio = float(best.W.norm() / best.H.norm())
    assert ratio == pytest.approx(math.sqrt(lambda_h / lambda_w), rel=1e-13)

    start = np.random.default_rng(0).normal(size=len(x))
    found = minimize(f.value, start, jac=f.gradient, method="L-BFGS-B", tol=1e-15)
    assert found.fun == pytest.approx(best.value, rel=1e-9)

    spectrum = f.spectrum(x)
    assert best.zero_modes == modes
    assert abs(spectrum[:modes]).max(initial=0.0) < 1e-14
    assert spectrum[modes] > 1e-4
    judged = weight_decay_escape(best.W, best.H, best.labels, lambda_w, lambda_h)
    assert judged.status == "global optimum"
    assert judged.spectral_norm == pytest.approx(judged.threshold, rel=1e-12)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_the_origin_is_the_minimum_exactly_above_the_threshold(factor):
    k, n, d = 3, 4, 2
    lambda_h = 0.1
    lambda_w = (factor / (k * math.sqrt(n))) ** 2 / lambda_h
    best = weight_decay_optimum(k, n, d, lambda_w, lambda_h)
    f = Regularized(best.labels, k, d, lambda_w, lambda_h)
    zero = torch.zeros(k, d), torch.zeros(k * n, d)
    lowest = f.spectrum(flat(*zero))[0]
    judged = weight_decay_escape(*zero, best.labels, lambda_w, lambda_h)
    assert judged.spectral_norm == pytest.approx(1 / (k * math.sqrt(n)), rel=1e-14)
    if factor < 1:
        assert best.status == "collapsed"
        assert best.value < math.log(k)
        assert judged.status == "escape"
        assert judged.curvature == pytest.approx(lowest, abs=1e-14)
    else:
        assert (best.status, best.margin, best.value) == ("origin", 0.0, math.log(k))
        assert not best.W.any()
        assert not best.H.any()
        assert judged.status == "global optimum"
        assert lowest > 0


@given(excess=st.floats(1e-6, 1e-3))
def test_margin_and_value_are_continuous_at_the_threshold(excess):
    best = weight_decay_optimum(3, 1, 2, (1 - excess) / 3, (1 - excess) / 3)
    assert best.margin == pytest.approx(3 * excess, rel=2e-2)
    assert best.value == pytest.approx(math.log(3), abs=10 * excess**2)


@pytest.mark.parametrize(("lambda_w", "lambda_h"), [(0.01, 0.01), (0.01, 0.03)])
@pytest.mark.parametrize(
    "point",
    [
        paired_kkt_point(),
        paired_kkt_point(5, 4),
        paired_kkt_point(1, 6),
        simplex_groups_kkt_point([3, 3]),
    ],
    ids=["paired", "paired, n = 5", "paired, d = 6", "3 + 3"],
)
def test_a_suboptimal_critical_point_has_the_lowest_eigenvalue_claimed(point, lambda_w, lambda_h):
    balance = (lambda_h / lambda_w) ** 0.25
    k, d = point.W.shape
    f = Regularized(point.labels, k, d, lambda_w, lambda_h)

    def scaled(size):
        return size * balance * point.W, size / balance * point.H

    def slope(size):
        return f.gradient(flat(*scaled(size))) @ flat(*scaled(size))

    critical = scaled(brentq(slope, 0.3, 10.0, xtol=1e-15, rtol=1e-15))
    found = weight_decay_escape(*critical, point.labels, lambda_w, lambda_h)
    assert found.status == "escape"
    assert found.spectral_norm > found.threshold
    assert found.curvature == pytest.approx(f.spectrum(flat(*critical))[0], abs=1e-12)

    best = weight_decay_optimum(k, len(point.H) // k, d, lambda_w, lambda_h)
    assert f.value(flat(*critical)) > best.value
    step = flat(found.dW, found.dH)
    assert np.linalg.norm(step) == pytest.approx(1.0)
    x = flat(*critical)
    second = (f.value(x + 1e-3 * step) - 2 * f.value(x) + f.value(x - 1e-3 * step)) / 1e-6
    assert second == pytest.approx(found.curvature, rel=1e-4)


def test_class_sizes_need_not_be_equal_and_other_points_are_not_judged():
    zero = torch.zeros(2, 3), torch.zeros(4, 3)
    found = weight_decay_escape(*zero, [0, 1, 1, 1], 0.1, 0.1)
    assert found.spectral_norm == pytest.approx(math.sqrt(2) / 4)  # ||CY|| / N
    assert found.status == "escape"
    elsewhere = weight_decay_escape(torch.eye(2), torch.eye(2), [0, 1], 0.1, 0.2)
    assert elsewhere.status == "not critical"
    assert elsewhere.curvature == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: weight_decay_optimum(3, 1, 1, 0.1, 0.1),
            "dim >= num_classes - 1 = 2, got dim = 1",
        ),
        (lambda: weight_decay_optimum(1, 1, 1, 0.1, 0.1), "num_classes: expected at least 2"),
        (lambda: weight_decay_optimum(3, 0, 2, 0.1, 0.1), "samples_per_class: expected at least 1"),
        (lambda: weight_decay_optimum(3, 1, 2, 0.0, 0.1), "lambda_w: .* above 0, got 0.0"),
        (lambda: weight_decay_optimum(3, 1, 2, 0.1, -1.0), "lambda_h: .* above 0, got -1.0"),
        (
            lambda: weight_decay_escape(torch.ones(3, 1), torch.ones(3, 1), [0, 1, 2], 0.1, 0.1),
            "dim >= num_classes - 1 = 2",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


@pytest.mark.parametrize("smoothing", [0.05, 0.3])
def test_label_smoothing_agrees_with_descent_on_smoothed_labels(smoothing):
    k, n, d, decays = 3, 2, 4, (0.02, 0.01)
    best = weight_decay_optimum(k, n, d, *decays, smoothing)
    targets = torch.full((k * n, k), smoothing / k, dtype=torch.float64)
    targets[range(k * n), best.labels] += 1 - smoothing

    def value(flat):
        x = torch.from_numpy(flat).requires_grad_()
        W, H = x.view(-1, d).split([k, k * n])
        loss = -(targets * (H @ W.T).log_softmax(1)).sum() / (k * n)
        loss = loss + decays[0] / 2 * W.square().sum() + decays[1] / 2 * H.square().sum()
        return float(loss.detach()), torch.autograd.grad(loss, x)[0].numpy()

    at, slope = value(flat(best.W, best.H))
    assert at == pytest.approx(best.value, rel=1e-14)
    assert abs(slope).max() < 1e-15
    start = np.random.default_rng(0).normal(size=slope.size)
    found = minimize(value, start, jac=True, method="L-BFGS-B", tol=1e-15)
    assert found.fun == pytest.approx(best.value, rel=1e-9)


def test_smoothing_alone_leaves_a_finite_margin_and_all_of_it_the_origin():
    for k, s in ((2, 0.1), (10, 0.2)):
        best = weight_decay_optimum(k, 5, k, 1e-12, 1e-12, s)
        assert best.margin == pytest.approx(math.log(1 + k * (1 - s) / s), abs=1e-9)
    k, n = 3, 4
    for excess, status in ((0.99, "collapsed"), (1.01, "origin")):
        strength = excess * (1 - 0.2) / (k * math.sqrt(n))
        assert weight_decay_optimum(k, n, 3, strength, strength, 0.2).status == status
    assert weight_decay_optimum(k, n, 3, 0.01, 0.01, 0.0).margin == pytest.approx(
        weight_decay_optimum(k, n, 3, 0.01, 0.01).margin
    )


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_refuses_a_smoothing_out_of_range(smoothing):
    with pytest.raises(NeuralCollapseError, match="label_smoothing: expected 0 <= s < 1"):
        weight_decay_optimum(3, 1, 2, 0.1, 0.1, smoothing)


@pytest.mark.parametrize(
    ("k", "n", "d", "lambda_w", "lambda_h"),
    [(4, 1, 3, 0.05, 0.05), (4, 5, 6, 0.01, 0.03), (6, 2, 5, 0.02, 0.01)],
)
def test_pairs_are_critical_and_can_be_escaped(k, n, d, lambda_w, lambda_h):
    point = paired_critical_point(lambda_w, lambda_h, n, d, k)
    f = Regularized(point.labels, k, d, lambda_w, lambda_h)
    x = flat(point.W, point.H)
    assert abs(f.gradient(x)).max() < 1e-15
    assert f.value(x) == pytest.approx(point.value, rel=1e-14)
    margins = point.H @ point.W.T
    own = margins.gather(1, point.labels[:, None])
    others = (own - margins).scatter(1, point.labels[:, None], math.inf)
    torch.testing.assert_close(others.amin(1), torch.full_like(others[:, 0], point.margin))
    found = weight_decay_escape(point.W, point.H, point.labels, lambda_w, lambda_h)
    assert found.status == "escape"
    assert f.spectrum(x)[0] <= found.curvature + 1e-12 < 0
    assert point.value > weight_decay_optimum(k, n, d, lambda_w, lambda_h).value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.3, 0.3), "lambda_w: .* below 1, got 1.2"),
        ((0.1, 0.1, 1, 3, 5), "num_classes: expected an even number, got 5"),
        ((0.01, 0.01, 1, 2, 6), "dim: expected dim >= num_classes / 2 = 3, got 2"),
        ((0.01, 0.01, 0), "samples_per_class: expected at least 1"),
    ],
)
def test_pairs_that_are_not_there_are_refused(arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        paired_critical_point(*arguments)


@pytest.mark.untyped
def test_dimensions_may_be_numbers_of_any_kind():
    assert paired_critical_point(0.01, 0.01, dim=torch.tensor(3.0)).W.shape == (4, 3)

import itertools
import math
from decimal import Decimal, localcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.theory import (
    central_path,
    central_path_velocity,
    collapsed_path_time,
    commuting_path,
    minimizing_head,
    near_features_minimizer,
    regularized_mse_minimizer,
    sufficient_statistics,
    trace_ratio_falls_from,
)

# class sizes, d, lambda_w, lambda_h: features decaying, undecayed, vanishing; few samples; unequal
CASES = [
    ([5, 5, 5], 6, 0.5, 0.1),
    ([5, 5, 5], 6, 0.4, 0.0),
    ([4, 4, 4], 5, 1.5, 1.0),
    ([2, 2], 8, 0.3, 0.05),
    ([6, 6, 6, 6], 3, 0.05, 0.02),
    ([7, 2, 4], 5, 0.5, 0.1),
]
TIMES = [0.0, 0.3, 2.0, 9.0]


def problem(sizes, d, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return rng.normal(size=(len(sizes), d))[labels] + 0.5 * rng.normal(
        size=(len(labels), d)
    ), labels


def naive_flow(H0, labels, lambda_w, lambda_h, times):
    """All features at once, straight from the paper: its H is ours transposed."""
    Y = np.eye(labels.max() + 1)[labels].T
    shape, n = H0.T.shape, len(labels) / len(Y)

    def velocity(t, state):
        H = state.reshape(shape)
        W = Y @ H.T @ np.linalg.inv(H @ H.T + n * lambda_w * np.eye(len(H)))
        return -(W.T @ (W @ H - Y) + lambda_h * H).ravel()

    states = [H0]
    for span in itertools.pairwise(times):
        start = states[-1].T.ravel()
        end = solve_ivp(velocity, span, start, rtol=1e-13, atol=1e-15, method="DOP853")
        states.append(end.y[:, -1].reshape(shape).T)
    return states


@pytest.mark.parametrize(("sizes", "d", "lambda_w", "lambda_h"), CASES)
def test_reduced_flow_is_the_full_flow(sizes, d, lambda_w, lambda_h):
    H0, labels = problem(sizes, d)
    path = central_path(H0, labels, lambda_w, lambda_h, TIMES)
    for i, H in enumerate(naive_flow(H0, labels, lambda_w, lambda_h, TIMES)):
        moments = sufficient_statistics(H, labels)
        torch.testing.assert_close(path.means[i], moments.means, rtol=0, atol=1e-10)
        torch.testing.assert_close(path.within[i], moments.within, rtol=0, atol=1e-10)
        torch.testing.assert_close(path.features(i), torch.as_tensor(H), rtol=0, atol=1e-10)
        between = np.mean(((H - H.mean(0)) ** 2).sum(1)) - float(moments.within.trace())
        assert float(path.trace_between[i]) == pytest.approx(between, abs=1e-10)


@pytest.mark.parametrize(("sizes", "d", "lambda_w", "lambda_h"), CASES)
def test_rates_are_the_derivatives_of_the_traces(sizes, d, lambda_w, lambda_h):
    H0, labels = problem(sizes, d)
    step = 1e-3
    path = central_path(H0, labels, lambda_w, lambda_h, 1 + step * np.arange(5))
    stencil = torch.tensor([1, -8, 0, 8, -1]).double() / (12 * step)
    for trace, rate in (
        (path.trace_within, path.trace_within_rate),
        (path.trace_between, path.trace_between_rate),
    ):
        assert float(rate[2]) == pytest.approx(float(stencil @ trace), rel=1e-7, abs=1e-9)


@given(
    sizes=st.builds(lambda k, n: [n] * k, st.integers(2, 4), st.integers(2, 4)),
    d=st.integers(1, 5),
    lambda_w=st.floats(0.05, 3),
    lambda_h=st.floats(0.01, 1),
    seed=st.integers(0, 2**16),
)
def test_theorem_3_1(sizes, d, lambda_w, lambda_h, seed):
    H0, labels = problem(sizes, d, seed)
    path = central_path(H0, labels, lambda_w, lambda_h, [0, 0.1, 1, 3])
    growth = torch.exp(2 * lambda_h * path.times)
    rounding = 1e-11
    assert (path.trace_ratio.diff() < rounding * path.trace_ratio[1:]).all()
    within, between = growth * path.trace_within, growth * path.trace_between
    assert (within.diff() <= rounding * within[1:]).all()
    assert (between.diff() >= -rounding * between[1:]).all()
    assert (path.trace_within_rate + 2 * lambda_h * path.trace_within <= 1e-13).all()
    assert (path.trace_between_rate + 2 * lambda_h * path.trace_between >= -1e-13).all()


def test_scatter_stays_positive_at_the_end_of_double_precision():
    H0, labels = problem([5, 5, 5], 3)
    path = central_path(H0, labels, 0.5, 0.1, [80.0])
    assert float(path.trace_within) < 1e-15
    assert float(torch.linalg.eigvalsh(path.within[0])[0]) >= -1e-16 * float(path.trace_within)


def test_undecayed_flow_keeps_its_invariant():
    # With lambda_h = 0: ||H||^2 / n + 2 lambda_w log det G is constant.
    H0, labels = problem([4, 4, 4], 5)
    path = central_path(H0, labels, 0.4, 0.0, TIMES)
    invariant = [
        float(path.features(i).square().sum()) / 4 + 0.8 * float(torch.logdet(path.propagators[i]))
        for i in range(len(TIMES))
    ]
    np.testing.assert_allclose(invariant, invariant[0], rtol=1e-10)


@pytest.mark.parametrize(
    ("start", "lambda_w", "lambda_h"),
    [(0.3, 0.5, 0.1), (3.0, 0.5, 0.1), (1.0, 2.0, 2.0), (0.3, 0.5, 0.0)],
)
def test_collapsed_flow_has_a_closed_form(start, lambda_w, lambda_h, generator):
    frame = regularized_mse_minimizer(3, 2, 5, 0.5, 0.1, generator)
    H0 = start * frame.H / frame.H[0].norm()
    path = central_path(H0, frame.labels, lambda_w, lambda_h, [0.5, 4.0])
    for time, means in zip(path.times, path.means, strict=True):
        radii = means.norm(dim=1)
        torch.testing.assert_close(radii, radii[:1].expand(3), rtol=1e-12, atol=0)
        reached = collapsed_path_time(start, float(radii[0]), lambda_w, lambda_h)
        assert reached == pytest.approx(float(time), rel=1e-9)
    assert path.within.abs().max() < 1e-28


def closed_form(start, radius, lambda_w, lambda_h):
    """The formulas of `collapsed_path_time`, in 60 digits."""
    start, radius, w, lambda_h = map(Decimal, (start, radius, lambda_w, lambda_h))

    def clock(h):
        if not lambda_h:
            return w * h.ln() + h**2 + h**4 / (4 * w)
        s, sigma = w + h**2, (w / lambda_h).sqrt()
        approach = abs(sigma - s).ln() / (sigma - w) + (sigma + s).ln() / (sigma + w)
        growth = w**2 * (h**2).ln() / (sigma**2 - w**2)
        return (growth - sigma * approach / 2) / (2 * lambda_h)

    with localcontext(prec=60):
        return float(clock(radius) - clock(start))


@pytest.mark.parametrize(
    ("start", "radius", "lambda_w", "lambda_h"),
    [
        (0.5, 1.5, 0.5, 0.0),
        (1e-3, 900.0, 2.0, 0.0),
        (0.5, 1.5, 0.5, 1e-30),
        (0.5, 1.5, 0.5, 1e-13),
        (0.5, 1.1, 0.5, 0.1),  # to the limit of 1.317 from both sides
        (2.0, 1.4, 0.5, 0.1),
        (1.0, 1.31, 0.5, 0.1),
        (1.0, 0.5, 3.0, 2.0),
        (1.0, 1e-40, 3.0, 2.0),
        (160.0, 0.02, 1e-3, 1100.0),  # far above the limit, and far down
        (1000.0, 0.1, 2.0, 0.55),
        (1.0, 0.5, 1.0, 1 + 1e-8),
        (1.0, 0.5, 2.0, 0.5 * (1 - 1e-8)),
        (1.0, 0.5, 2.0, 0.5 * (1 - 1e-15)),
        (1.0, 1.0 + 1e-9, 0.5, 0.1),
    ],
)
def test_time_on_the_collapsed_path_is_its_closed_form(start, radius, lambda_w, lambda_h):
    expected = closed_form(start, radius, lambda_w, lambda_h)
    assert collapsed_path_time(start, radius, lambda_w, lambda_h) == pytest.approx(
        expected, rel=1e-11
    )


def test_time_on_the_collapsed_path_where_the_closed_form_is_singular():
    # lambda_w = lambda_h = 1: dh/dt = -h^3 (2 + h^2) / (1 + h^2)^2
    flow = solve_ivp(
        lambda _, h: -(h**3) * (2 + h**2) / (1 + h**2) ** 2, (0, 1.5), [1.0], "DOP853",
        rtol=1e-12, atol=1e-14,
    )  # fmt: skip
    assert collapsed_path_time(1, flow.y[0, -1], 1, 1) == pytest.approx(1.5, rel=1e-10)


def test_limit_is_the_collapsed_optimum():
    H0, labels = problem([3, 3, 3], 5)
    path = central_path(H0, labels, 0.5, 0.1, [300.0])
    rho = math.sqrt(0.5 / 0.1) - 0.5
    torch.testing.assert_close(
        path.means[0] @ path.means[0].T, rho * torch.eye(3).double(), rtol=0, atol=1e-10
    )


def test_large_beta_follows_the_flow_to_second_order():
    H0, labels = problem([3, 3, 3], 5)
    gaps = []
    for beta in (100.0, 1000.0):
        minimizer = near_features_minimizer(H0, labels, 0.5, 0.1, beta)
        path = central_path(H0, labels, 0.5, 0.1, [1 / beta])
        gaps.append(float((minimizer.H - path.features(0)).norm()))
    assert math.log10(gaps[0] / gaps[1]) == pytest.approx(2, abs=0.02)


@given(
    d=st.integers(2, 5),
    lambda_w=st.floats(0.1, 3),
    lambda_h=st.floats(0.01, 2),
    extra=st.floats(1e-3, 10),
    seed=st.integers(0, 2**16),
)
def test_corollary_3_2_with_its_constant(d, lambda_w, lambda_h, extra, seed):
    H0, labels = problem([3, 3, 3], d, seed)
    beta = trace_ratio_falls_from(lambda_w, lambda_h) + extra
    after = near_features_minimizer(H0, labels, lambda_w, lambda_h, beta)

    def ratio(moments):
        centered = moments.means - moments.means.mean(0)
        return float(moments.within.trace() / (centered.square().sum() / 3))

    assert ratio(after) < ratio(sufficient_statistics(H0, labels))


def test_moments_of_a_million_samples_follow_the_same_path():
    H0, labels = problem([3, 3, 3], 4)
    moments = sufficient_statistics(H0, labels)
    million = SimpleNamespace(means=moments.means, within=moments.within, counts=[10**6] * 3)
    path = central_path(million, None, 0.5, 0.1, TIMES)
    torch.testing.assert_close(path.means, central_path(H0, labels, 0.5, 0.1, TIMES).means)
    with pytest.raises(NeuralCollapseError, match="H0: expected features, got moments only"):
        path.features(0)


DISTINCT = np.eye(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: central_path(DISTINCT, [0, 1, 1], 1, 1, [1]), "labels: expected 2 labels"),
        (lambda: central_path(DISTINCT, [0, 1], 0, 1, [1]), "lambda_w: .* above 0, got 0"),
        (lambda: central_path(DISTINCT, [0, 1], 1, -1, [1]), "lambda_h: .* above 0, got -1"),
        (lambda: central_path(DISTINCT, [0, 1], 1, 1, [2, 1]), "times: expected finite increasing"),
        (lambda: central_path(DISTINCT, [0, 1], 1, 1, [-1]), "times: expected finite increasing"),
        (lambda: central_path(np.ones((2, 2)), [0, 1], 1, 1, [1]), "H0: .* got equal class means"),
        (lambda: collapsed_path_time(1, 9, 0.5, 0.1), "radius: expected a radius between"),
        (lambda: collapsed_path_time(1, 0.9, 0.5, 0), "the squared radius tends to inf"),
        (lambda: collapsed_path_time(1, 1.2, 2, 0.5), "radius: expected a radius between"),
        (lambda: trace_ratio_falls_from(0, 1), "lambda_w: expected a finite number above 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


@pytest.mark.parametrize("late", [1e200, 1e6])
def test_a_time_out_of_reach_is_refused(late, monkeypatch):
    monkeypatch.setattr("neuralcollapse.theory.landing.MOST_EVALUATIONS", 2000)
    with pytest.raises(NeuralCollapseError, match="times: expected times that the flow reaches"):
        central_path(DISTINCT, [0, 1], 1, 0.1, [0, late])
    with pytest.raises(NeuralCollapseError, match="end earlier"):
        commuting_path([1.0, 2.0], [0.1, 0.1], 3, 0.5, 0.1, [0.0, late])


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="H0: expected finite numbers, got 4 NaN"):
        central_path(np.full((2, 2), np.nan), [0, 1], 1, 1, [1])


@pytest.mark.parametrize(("sizes", "d", "lambda_w", "lambda_h"), CASES)
def test_the_head_minimises_and_features_move_down_the_minimum(sizes, d, lambda_w, lambda_h):
    H, labels = problem(sizes, d)
    K, N = len(sizes), len(labels)
    features = torch.tensor(H, requires_grad=True)
    targets = torch.nn.functional.one_hot(torch.as_tensor(labels), K).double()

    def loss(W):
        fit = (features @ W.T - targets).square().sum() / (2 * N)
        return fit + lambda_w / (2 * K) * W.square().sum()

    W = minimizing_head(H, labels, lambda_w).requires_grad_()
    (slope,) = torch.autograd.grad(loss(W), W)
    assert float(slope.abs().max()) < 1e-14
    # By the envelope theorem the gradient of the minimum is that at the minimising head.
    whole = loss(W) + lambda_h / (2 * N) * features.square().sum()
    (down,) = torch.autograd.grad(whole, features)
    torch.testing.assert_close(central_path_velocity(H, labels, lambda_w, lambda_h), -N * down)


def test_the_velocity_is_the_derivative_of_the_path():
    H, labels = problem([7, 2, 4], 5)
    path, step = central_path(H, labels, 0.5, 0.1, [0.3, 0.3 + 1e-4, 0.3 + 2e-4]), 1e-4
    slope = (path.features(2) - path.features(0)) / (2 * step)
    velocity = central_path_velocity(path.features(1), labels, 0.5, 0.1)
    torch.testing.assert_close(velocity, slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("start", "radius", "lambda_w", "lambda_h"),
    [
        (1.0, 0.5, 2.0, 0.5),  # lambda_w lambda_h = 1, where the closed form has a double pole
        (1.0, 0.5, 2.0, 0.5 * (1 + 1e-8)),
        (1.0, 0.5, 2.0, 0.5 * (1 - 1e-12)),
        (0.1, 2.0, 0.1, 1e-13),
        (0.1, 2.0, 0.1, 1e-20),
        (2.5, 1.9, 0.1, 0.02),
        (1e-3, 0.9, 1e-2, 1e-3),
    ],
)
def test_the_time_of_the_collapsed_path_is_its_integral(start, radius, lambda_w, lambda_h):
    def pace(log_radius):
        s = lambda_w + math.exp(2 * log_radius)
        return s**2 / (lambda_w - lambda_h * s**2)

    ends = math.log(start), math.log(radius)
    time, _ = quad(pace, *ends, epsabs=0, epsrel=1e-12, limit=200)
    assert collapsed_path_time(start, radius, lambda_w, lambda_h) == pytest.approx(time, rel=1e-10)

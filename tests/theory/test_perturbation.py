import inspect
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.theory import (
    GeneralPerturbationOperator,
    PerturbationOperator,
    near_features_minimizer,
    regularized_mse_minimizer,
)

# K, n, d, lambda_w, lambda_h, beta, radius of H0 beside the optimal one
CASES = [
    (3, 3, 5, 0.5, 0.1, 1.0, 1.0),
    (3, 3, 3, 0.5, 0.1, 5.0, 1.0),
    (2, 1, 4, 0.3, 0.2, 2.0, 1.0),
    (4, 2, 6, 0.05, 0.3, 10.0, 1.0),
    (3, 3, 5, 0.5, 0.1, 1.0, 0.5),
    (3, 2, 4, 0.5, 0.1, 3.0, 2.0),
]
SIZES = ["K", "n", "d", "lambda_w", "lambda_h", "beta", "stretch"]


def collapsed(K, n, d, lambda_w, lambda_h, stretch=1.0):
    optimum = regularized_mse_minimizer(
        K, n, d, lambda_w, lambda_h, torch.Generator().manual_seed(0)
    )
    labels = torch.arange(K).repeat(n)  # not class-major
    return stretch * optimum.means, labels


def dense_operator(W, H, labels, lambda_w, lambda_h, beta, first_order=False):
    """Theorem 4.1 as printed, in the paper's notation: vec stacks the columns of H (d x N)."""
    H = H.T
    (K, d), N = W.shape, H.shape[1]
    Y = np.eye(K)[labels].T
    residual = W @ H - Y
    columns = []
    for i, k in itertools.product(range(d), range(K)):
        unit = np.zeros((d, K))
        unit[i, k] = 1
        columns.append((unit @ residual).flatten("F"))
    inner = np.column_stack(columns).T + np.kron(H, W)
    gram = np.kron(H @ H.T + N / K * lambda_w * np.eye(d), np.eye(K))
    Z = inner.T @ np.linalg.solve(gram, inner)
    curvature = lambda_h * np.eye(d * N) + np.kron(np.eye(N), W.T @ W) - Z
    if first_order:
        return np.eye(d * N) - curvature / beta
    return beta * np.linalg.inv(beta * np.eye(d * N) + curvature)


def dense_of(operator):
    linear = operator.as_linear_operator()
    return linear @ np.eye(linear.shape[0])


@pytest.mark.parametrize(SIZES, CASES)
@pytest.mark.parametrize("variant", ["exact", "first-order"])
def test_structured_operator_is_the_dense_one(K, n, d, lambda_w, lambda_h, beta, stretch, variant):
    means, labels = collapsed(K, n, d, lambda_w, lambda_h, stretch)
    operator = PerturbationOperator(means, labels, lambda_w, lambda_h, beta, variant)
    minimizer = near_features_minimizer(means[labels], labels, lambda_w, lambda_h, beta)
    torch.testing.assert_close(
        operator.radius * operator.frame, minimizer.means, rtol=0, atol=1e-12
    )
    dense = dense_operator(
        (operator.head_scale * operator.frame).numpy(),
        (operator.radius * operator.frame)[labels].numpy(),
        labels.numpy(),
        lambda_w,
        lambda_h,
        beta,
        variant == "first-order",
    )
    np.testing.assert_allclose(dense_of(operator), dense, rtol=0, atol=1e-12)

    values = np.repeat(*zip(*((e.value, e.multiplicity) for e in operator.spectrum()), strict=True))
    np.testing.assert_allclose(np.sort(values), np.linalg.eigvalsh(dense), atol=1e-12)

    rows = [np.flatnonzero(np.repeat(labels.numpy() == k, d)) for k in range(K)]
    for k, j in itertools.product(range(K), repeat=2):
        block = np.linalg.svd(dense[np.ix_(rows[k], rows[j])], compute_uv=False)
        multiples = operator.block_singular_values(k, j)
        expected = np.repeat([m.value for m in multiples], [m.multiplicity for m in multiples])
        np.testing.assert_allclose(expected, block, atol=1e-12)


@pytest.mark.parametrize(SIZES, CASES)
def test_eigenvectors_are_an_orthonormal_basis_of_eigenvectors(
    K, n, d, lambda_w, lambda_h, beta, stretch
):
    means, labels = collapsed(K, n, d, lambda_w, lambda_h, stretch)
    operator = PerturbationOperator(means, labels, lambda_w, lambda_h, beta)
    basis = []
    for space in operator.spectrum():
        vectors = operator.eigenvectors(space.name)
        assert len(vectors) == space.multiplicity
        assert len(operator.eigenvectors(space.name, 1)) == min(1, space.multiplicity)
        for vector in vectors:
            torch.testing.assert_close(operator.apply(vector), space.value * vector)
        basis.append(vectors.flatten(1))
    basis = torch.cat(basis)
    identity = torch.eye(K * n * d).double()
    torch.testing.assert_close(basis @ basis.T, identity, rtol=0, atol=1e-12)


@pytest.mark.parametrize(SIZES, CASES)
def test_responses_are_the_derivatives_of_true_minimizers(
    K, n, d, lambda_w, lambda_h, beta, stretch, generator
):
    means, labels = collapsed(K, n, d, lambda_w, lambda_h, stretch)
    operator = PerturbationOperator(means, labels, lambda_w, lambda_h, beta)
    change = torch.randn(K * n, d, generator=generator).double()
    step = 3e-5
    ahead, behind = (
        near_features_minimizer(means[labels] + s * change, labels, lambda_w, lambda_h, beta)
        for s in (step, -step)
    )
    torch.testing.assert_close(
        operator.apply(change), (ahead.H - behind.H) / (2 * step), rtol=0, atol=1e-6
    )
    torch.testing.assert_close(
        operator.classifier_response(change), (ahead.W - behind.W) / (2 * step), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("sizes", [[3, 3, 3], [1, 3, 2]])
def test_general_operator_is_the_dense_one_and_the_derivative(sizes):
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(3), sizes))
    H0 = rng.normal(size=(len(labels), 4))
    strengths = (0.5, 0.1, 1.0)
    operator = GeneralPerturbationOperator(H0, labels, *strengths)
    found = operator.minimizer
    dense = dense_operator(found.W.numpy(), found.H.numpy(), labels, *strengths)
    np.testing.assert_allclose(dense_of(operator), dense, rtol=0, atol=1e-12)
    first = GeneralPerturbationOperator(H0, labels, *strengths, variant="first-order")
    series = 2 * np.eye(len(dense)) - np.linalg.inv(dense)  # 1 - x for 1 / (1 + x)
    np.testing.assert_allclose(dense_of(first), series, rtol=0, atol=1e-11)
    change, step = rng.normal(size=H0.shape), 1e-5
    ahead, behind = (
        near_features_minimizer(H0 + s * change, labels, *strengths) for s in (step, -step)
    )
    torch.testing.assert_close(
        operator.classifier_response(change), (ahead.W - behind.W) / (2 * step), rtol=0, atol=1e-8
    )


def test_the_first_order_operators_agree_where_features_are_collapsed():
    means, labels = collapsed(3, 2, 5, 0.5, 0.1)
    special = PerturbationOperator(means, labels, 0.5, 0.1, 10.0, "first-order")
    general = GeneralPerturbationOperator(
        means[torch.as_tensor(labels)], labels, 0.5, 0.1, 10.0, "first-order"
    )
    np.testing.assert_allclose(dense_of(general), dense_of(special), rtol=0, atol=1e-9)
    change = np.random.default_rng(0).normal(size=general.shape)
    torch.testing.assert_close(
        general.classifier_response(change), special.classifier_response(change)
    )


@pytest.mark.parametrize("beta", [1.0, 10.0, 1000.0])
def test_first_order_errs_by_what_the_geometric_series_says(beta):
    means, labels = collapsed(3, 2, 5, 0.5, 0.1)
    exact, first = (
        dense_of(PerturbationOperator(means, labels, 0.5, 0.1, beta, variant))
        for variant in ("exact", "first-order")
    )
    ratio = math.sqrt(0.1 / 0.5) / beta
    error = np.linalg.norm(exact - first, 2)
    assert error == pytest.approx(ratio**2 / (1 + ratio), rel=1e-6)


@pytest.mark.parametrize(
    ("lambda_h", "three", "one", "fifty_four", "thirty_six", "off"),
    [
        (0.001, 0.9999807521, 0.9999615042, 0.99999, 0.9997340852, 1.924788e-5),
        (0.1, 0.9987521206, 0.9975042412, 0.999, 0.9973408521, 1.247879e-3),
        (0.6, 0.9990538704, 0.9981077409, 0.994, 0.9934864444, 9.461296e-4),
    ],
)
def test_figure_1(lambda_h, three, one, fifty_four, thirty_six, off):
    """Theorem 4.2 by hand: 1 - 2 lH (1-c) / beta and so on, beta 100, K 4, d 10, n 10."""
    means, labels = collapsed(4, 10, 10, math.sqrt(2), lambda_h)
    operator = PerturbationOperator(means, labels, math.sqrt(2), lambda_h, 100, "first-order")
    by_size = {m.multiplicity: m.value for m in operator.block_singular_values(2, 2)}
    expected = {6: 1.0, 3: three, 1: one, 54: fifty_four, 36: thirty_six}
    assert by_size == pytest.approx(expected, abs=1e-10)
    largest, rest = operator.block_singular_values(0, 3)
    assert largest.value == pytest.approx(off, rel=1e-6)
    assert (rest.value, rest.multiplicity) == (0.0, 99)


def test_lanczos_finds_the_least_eigenvalue():
    means, labels = collapsed(3, 4, 6, 0.5, 0.1)
    operator = PerturbationOperator(means, labels, 0.5, 0.1, 2.0)
    least = eigsh(operator.as_linear_operator(), k=1, which="SA")[0][0]
    assert least == pytest.approx(min(e.value for e in operator.spectrum()), rel=1e-10)


def ratio_error(epsilon, lambda_w, lambda_h, beta, base=(0.5, 0.1)):
    """Relative error of the predicted ratio at H0 = the optimum for `base` plus centred noise."""
    means, labels = collapsed(4, 10, 10, *base)
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 10)))
    for k in range(4):
        noise[labels == k] -= noise[labels == k].mean(0)
    scatter = epsilon**2 * noise.T @ noise / 40
    H0 = means[labels] + epsilon * noise
    found = near_features_minimizer(H0, labels, lambda_w, lambda_h, beta)
    operator = PerturbationOperator(means, labels, lambda_w, lambda_h, beta)
    return operator.within_ratio(scatter) * float(scatter.trace() / found.within.trace()) - 1


@pytest.mark.parametrize(("beta", "precision"), [(1.0, 1e-3), (10.0, 2e-4), (100.0, 2e-5)])
def test_predicted_trace_ratio(beta, precision):
    assert abs(ratio_error(0.03, 0.5, 0.1, beta)) < precision


@pytest.mark.parametrize(("factor_w", "factor_h"), [(1, 1), (1, 2), (1, 0.5), (2, 1), (0.5, 1)])
@pytest.mark.parametrize("moving", [True, False])
def test_predicted_trace_ratio_errs_to_second_order(factor_w, factor_h, moving):
    strengths = (0.5 * factor_w, 0.1 * factor_h)
    base = strengths if moving else (0.5, 0.1)
    coarse, fine = (ratio_error(epsilon, *strengths, 1.0, base) for epsilon in (0.01, 0.001))
    assert abs(coarse) < 2e-4
    assert math.log10(coarse / fine) == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize(
    ("start", "stretch"), [("moving", 1.0), ("fixed", 1.0), ("fixed", 0.4), ("fixed", 2.5)]
)
@pytest.mark.parametrize("beta", [0.5, 20.0])
def test_elasticities_are_the_log_derivatives_of_the_ratio(start, stretch, beta):
    means, labels = collapsed(4, 2, 10, 0.5, 0.1, stretch)

    def log_ratio(lambda_w, lambda_h):
        moved = collapsed(4, 2, 10, lambda_w, lambda_h)[0] if start == "moving" else means
        operator = PerturbationOperator(moved, labels, lambda_w, lambda_h, beta)
        return math.log(operator.within_ratio())

    found = PerturbationOperator(means, labels, 0.5, 0.1, beta).elasticities(start=start)
    up, down = math.exp(1e-5), math.exp(-1e-5)
    by_w = (log_ratio(0.5 * up, 0.1) - log_ratio(0.5 * down, 0.1)) / 2e-5
    by_h = (log_ratio(0.5, 0.1 * up) - log_ratio(0.5, 0.1 * down)) / 2e-5
    assert found == pytest.approx((by_w, by_h), abs=1e-8)


def test_elasticities_of_the_moving_optimum_by_hand():
    # a g / (beta + g) and 2 b lambda_h / (beta + lambda_h) over a + b, at K / d = 0.4.
    means, labels = collapsed(4, 2, 10, 0.5, 0.1)
    g = math.sqrt(0.2)
    a, b = 0.4 / (1 + g) ** 2, 0.6 / 1.1**2
    pull, decay = a * g / (1 + g), 2 * b * 0.1 / 1.1
    found = PerturbationOperator(means, labels, 0.5, 0.1, 1.0).elasticities()
    assert found == pytest.approx((pull / (a + b), -(pull + decay) / (a + b)), rel=1e-12)


def test_a_first_order_operator_out_of_range_warns():
    means, labels = collapsed(3, 2, 5, 0.02, 0.5)
    with pytest.warns(UserWarning, match="first-order operator at beta = 5, not above max lambda"):
        PerturbationOperator(means, labels, 0.02, 0.5, 5 * (1 - 1e-12), "first-order")


def build(**changes):
    arguments = {"means": np.eye(2, 3), "labels": [0, 1], "lambda_w": 1, "lambda_h": 1, "beta": 1}
    return PerturbationOperator(**(arguments | changes))


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build(means=np.ones((2, 3))), "means: expected orthogonal class means of equal"),
        (lambda: build(means=np.zeros((2, 3))), "means: expected orthogonal class means of equal"),
        (lambda: build(labels=[0, 1, 1]), "labels: expected classes of equal size"),
        (lambda: build(labels=[0, 2]), "labels: expected labels of at least 0 and below"),
        (lambda: build(means=np.eye(3)), "labels: expected 3 classes, got 2"),
        (lambda: build(lambda_w=0), "lambda_w: expected a finite number above 0"),
        (lambda: build(lambda_h=-1), "lambda_h: expected a finite number above 0"),
        (lambda: build(beta=0), "beta: expected a finite number above 0"),
        (lambda: build().apply(np.eye(2)), "dH0: expected shape \\(2, 3\\)"),
        (lambda: build().eigenvectors("all"), "name: expected one of mean orthogonal, .*'all'"),
        (lambda: build().block_singular_values(0, 2), "j: expected at most 1, got 2"),
        (lambda: build().block_singular_values(0.5, 1), "k: expected a whole number"),
        (lambda: build().eigenvectors("mean rotation", -1), "count: expected at least 0, got -1"),
        (lambda: build().within_ratio(np.eye(2)), "within: expected a scatter of shape \\(3, 3\\)"),
        (lambda: build().elasticities(), "means: expected squared norm 0, and the exact variant"),
        (
            lambda: GeneralPerturbationOperator(np.zeros((2, 3)), [0, 1], 0.5, 0.1, 0.1),
            "H0: expected features whose minimiser is locally unique, got .* not unique",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_an_unknown_variant_is_refused():
    operator = object.__new__(PerturbationOperator)
    with pytest.raises(NeuralCollapseError, match="one of exact, first-order, got 'second'"):
        inspect.unwrap(PerturbationOperator.__init__)(
            operator, np.eye(2), [0, 1], 1, 1, 1, "second"
        )


def test_an_unknown_start_is_refused():
    with pytest.raises(NeuralCollapseError, match="one of moving, fixed, got 'free'"):
        inspect.unwrap(PerturbationOperator.elasticities)(build(), None, "free")


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="means: expected finite numbers, got 1 NaN"):
        build(means=[[math.nan, 0], [0, 1]])

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.theory import LayerPeeledModel

CASES = {
    "two classes on a line": ([0, 1, 1], 1),
    "balanced": ([0, 1, 2, 3] * 3, 6),
    "imbalanced, shuffled": ([2, 0, 2, 1, 2, 0, 2, 3], 4),
    "fewer dimensions than K - 1": ([0, 1, 2, 3, 4, 0], 2),
}
SCALES = [0.0, 1e-3, 1.0, 5.0]
TABLE = [
    pytest.param(labels, dim, scale, id=f"{name} x {scale}")
    for name, (labels, dim) in CASES.items()
    for scale in SCALES
]


def draw(labels, dim, scale, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = max(labels) + 1, dim
    point = [torch.randn(*s, generator=generator).double() for s in (shape, (len(labels), dim))]
    return [scale * x for x in point]


def naive_loss(W, H, labels):
    """Sum of cross-entropies, as written in the paper, for autograd."""
    total = torch.zeros((), dtype=torch.float64)
    for h, label in zip(H, labels, strict=True):
        scores = torch.stack([w @ h for w in W])
        total = total + torch.log(torch.exp(scores).sum()) - scores[label]
    return total


@pytest.mark.parametrize(("labels", "dim", "scale"), TABLE)
def test_loss_and_gradients_are_those_of_autograd(labels, dim, scale):
    W, H = (x.requires_grad_() for x in draw(labels, dim, scale))
    loss = naive_loss(W, H, labels)
    model = LayerPeeledModel(labels, dim)
    assert model.loss(W, H) == pytest.approx(loss.item(), rel=1e-13)
    assert model.log_loss(W, H) == pytest.approx(math.log(loss.item()), rel=1e-13, abs=1e-13)
    for function, expected in [(model.gradient, loss), (model.log_gradient, loss.log())]:
        wanted = torch.autograd.grad(expected, (W, H), retain_graph=True)
        for ours, theirs in zip(function(W, H), wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("labels", "dim", "scale"), TABLE)
def test_hessian_vector_products_are_those_of_autograd(labels, dim, scale):
    W, H = draw(labels, dim, scale)
    U, V = draw(labels, dim, 1.0, seed=1)
    model = LayerPeeledModel(labels, dim)
    for ours, of_log in [(model.hvp, False), (model.log_hvp, True)]:

        def scalar(W, H, of_log=of_log):
            loss = naive_loss(W, H, labels)
            return loss.log() if of_log else loss

        wanted = torch.autograd.functional.hvp(scalar, (W, H), (U, V))[1]
        for got, expected in zip(ours(W, H, U, V), wanted, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)


def test_far_beyond_underflow_it_agrees_with_arbitrary_precision():
    labels, dim = CASES["imbalanced, shuffled"]
    etf = simplex_etf(4, dim, "axis")
    W = 40 * etf + 0.01 * draw(labels, dim, 1.0)[0]
    H = 36 * etf[torch.tensor(labels)] + 0.01 * draw(labels, dim, 1.0)[1]
    model = LayerPeeledModel(labels, dim)
    log_loss = model.log_loss(W, H)
    assert log_loss < -1885
    assert model.loss(W, H) == 0.0
    with mpmath.workdps(900):
        logits = [[mpmath.fdot(h, w) for w in W.tolist()] for h in H.tolist()]
        partition = [sum(map(mpmath.exp, row)) for row in logits]
        P = [[mpmath.exp(z) / s for z in row] for row, s in zip(logits, partition, strict=True)]
        loss = -sum(mpmath.log(p[y]) for p, y in zip(P, labels, strict=True))
        exact = [
            [float((p[j] - (j == y)) / loss) for j in range(4)]
            for p, y in zip(P, labels, strict=True)
        ]
        assert log_loss == pytest.approx(float(mpmath.log(loss)), rel=1e-15)
    # A rounding of a logit of 1400 moves its weight by 1400 eps.
    np.testing.assert_allclose(model.residual(W, H), exact, rtol=4e-12, atol=1e-300)
    ghat = torch.tensor(exact, dtype=torch.float64)
    for ours, wanted in zip(model.log_gradient(W, H), (ghat.T @ H, ghat @ W), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-11, atol=1e-11)

    U, V = draw(labels, dim, 1e-6, seed=1)
    ahead, behind = model.log_gradient(W + U, H + V), model.log_gradient(W - U, H - V)
    for ours, a, b in zip(model.log_hvp(W, H, U, V), ahead, behind, strict=True):
        torch.testing.assert_close(ours, (a - b) / 2, rtol=1e-6, atol=1e-10)


@given(scale=st.floats(0, 300), seed=st.integers(0, 99))
def test_residual_rows_sum_to_zero_and_are_bounded(scale, seed):
    labels, dim = CASES["imbalanced, shuffled"]
    ghat = LayerPeeledModel(labels, dim).residual(*draw(labels, dim, scale, seed))
    assert ghat.isfinite().all()
    assert float(ghat.abs().max()) <= 1
    torch.testing.assert_close(ghat.sum(1), torch.zeros(len(labels)).double(), atol=1e-15, rtol=0)


def test_a_rotation_and_a_shift_of_the_head_leave_the_loss():
    labels, dim = CASES["balanced"]
    W, H = draw(labels, dim, 1.0)
    rotation = torch.linalg.qr(draw(labels, dim, 1.0, seed=2)[1][:dim])[0]
    model = LayerPeeledModel(labels, dim)
    rotated = model.log_loss(W @ rotation, H @ rotation)
    assert rotated == pytest.approx(model.log_loss(W, H), rel=1e-13)
    assert model.log_loss(W + 3.0, H) == pytest.approx(model.log_loss(W, H), rel=1e-13)
    torch.testing.assert_close(model.log_gradient(W, H)[0].sum(0), torch.zeros(dim).double())


def test_numbers_by_hand():
    model = LayerPeeledModel([0, 1], dim=1)
    zero = model.loss([[0.0], [0.0]], [[1.0], [1.0]])
    assert zero == pytest.approx(2 * math.log(2), rel=1e-15)
    W, H = np.array([[2.0], [-1.0]]), np.array([[3.0], [1.0]])
    assert model.margins(W, H).tolist() == [9.0, -3.0]
    assert model.loss(W, H) == pytest.approx(math.log1p(math.exp(-9)) + math.log1p(math.exp(3)))


W, H = torch.ones(2, 3), torch.ones(4, 3)
LABELS = [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: LayerPeeledModel([0, 2, 2], 3),
            r"a sample of each of 3 classes, got none of \[1\]",
        ),
        (lambda: LayerPeeledModel([0, 1], 3, 3), r"each of 3 classes, got none of \[2\]"),
        (lambda: LayerPeeledModel([0, 0], 3), "at least 2 classes, got 1"),
        (lambda: LayerPeeledModel([], 3), "at least 2 classes, got 0"),
        (lambda: LayerPeeledModel([0, 5], 3, 2), "below 2, the number of classes"),
        (lambda: LayerPeeledModel([[0, 1]], 3), "a sample of each of 2 classes"),
        (lambda: LayerPeeledModel(LABELS, 0), "dim: expected at least 1, got 0"),
        (lambda: LayerPeeledModel(LABELS, 3).loss(H, W), r"W: expected shape \(2, 3\)"),
        (lambda: LayerPeeledModel(LABELS, 3).loss(W, W), r"H: expected shape \(4, 3\)"),
        (lambda: LayerPeeledModel(LABELS, 3).hvp(W, H, W, W), r"V: expected shape \(4, 3\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_infinity_is_refused():
    with pytest.raises(NonFiniteError, match="W: expected finite numbers, got 6 NaN"):
        LayerPeeledModel(LABELS, 3).log_gradient(W * math.inf, H)

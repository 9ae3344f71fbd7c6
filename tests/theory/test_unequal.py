import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory import (
    implied_feature_decay,
    predicted_geometry,
    unequal_minimizer,
    weight_decay_optimum,
)

SIZES = (8, 4, 2)
FIXTURE = [  # bias, value, singular values of X, diagonal of W W^T
    (None, 0.059854623652, (14.199645619, 8.3089807467), (4.165058312, 3.244929319, 2.656176096)),
    (
        "free",
        0.055370107338,
        (12.471797517, 8.3446706228),
        (3.583795313, 3.195388652, 2.530223598),
    ),
    (0.01, 0.059143970004, (13.750340300, 8.1807885198), None),
]


@pytest.mark.parametrize(("bias", "value", "singular", "diagonal"), FIXTURE)
def test_three_classes_to_all_printed_digits(bias, value, singular, diagonal):
    best = unequal_minimizer(SIZES, 2, 5e-3, 1e-3, bias)
    assert best.value == pytest.approx(value, abs=6e-13)
    assert 0 <= best.gap + 1e-15 < 1e-10
    product = best.class_sizes.double().sqrt()[:, None] * (best.means @ best.W.T)
    assert torch.linalg.svdvals(product)[:2].tolist() == pytest.approx(singular, abs=6e-9)
    if diagonal:
        assert best.head_gram.diagonal().tolist() == pytest.approx(diagonal, abs=6e-10)
    if bias == "free":
        expected = (1.610199679, -0.242316426, -1.367883253)
        assert best.bias.tolist() == pytest.approx(expected, abs=6e-10)


def direct(sizes, dim, lambda_w, lambda_h, bias, loss):
    """Minimise over every entry of W, H and b by L-BFGS, from a random start."""
    labels = torch.repeat_interleave(torch.tensor(sizes))
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(len(sizes), dim, generator=generator, dtype=torch.float64).requires_grad_()
    H = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64).requires_grad_()
    b = torch.zeros(len(sizes), dtype=torch.float64, requires_grad=bias is not None)

    def objective():
        value = loss(H @ W.T + b, labels) + lambda_w / 2 * W.square().sum()
        value = value + lambda_h / 2 * H.square().sum()
        return value + bias / 2 * b.square().sum() if isinstance(bias, float) else value

    parameters = [W, H] if bias is None else [W, H, b]
    for _ in range(3):  # afresh, since the memory of curvature goes stale
        optimizer = torch.optim.LBFGS(
            parameters, max_iter=2000, tolerance_grad=1e-11, tolerance_change=0,
            history_size=50, line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure(optimizer=optimizer):
            optimizer.zero_grad()
            value = objective()
            value.backward()
            return value

        optimizer.step(closure)
    return objective().item(), W.detach(), H.detach(), b.detach()


def half_squares(scores, labels):
    return 0.5 * (scores - torch.eye(scores.shape[1])[labels]).square().sum(1).mean()


@pytest.mark.parametrize("bias", [None, "free", 0.01])
@pytest.mark.parametrize(
    ("sizes", "loss"),
    [
        ((8, 4, 2), cross_entropy),
        ((6, 6, 1, 1), lambda s, y: cross_entropy(s, y, label_smoothing=0.1)),
        ((9, 4, 2), half_squares),
    ],
)
def test_against_direct_optimisation_of_everything(sizes, loss, bias):
    squared = loss is half_squares
    if squared and bias == 0.01:
        pytest.skip("no closed form")
    strengths = (2e-3, 4e-3)
    value, W, H, b = direct(sizes, len(sizes), *strengths, bias, loss)
    best = unequal_minimizer(
        sizes,
        len(sizes),
        *strengths,
        bias,
        label_smoothing=0.1 if sizes[0] == 6 else 0.0,
        loss="mse" if squared else "cross_entropy",
    )
    assert best.value == pytest.approx(value, abs=1e-12)
    torch.testing.assert_close(best.head_gram, W @ W.T, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(best.H @ best.H.T, H @ H.T, rtol=0, atol=1e-6)
    offset = b if squared else b - b.mean()
    torch.testing.assert_close(best.bias, offset, rtol=0, atol=1e-6)
    scores = best.H @ best.W.T + best.bias
    found = best.margins[best.labels]
    torch.testing.assert_close(found, scores.gather(1, best.labels[:, None]) - scores)
    own = strengths[0] * best.W.square().sum(), strengths[1] * best.H.square().sum()
    assert own[0].item() == pytest.approx(own[1].item(), rel=1e-9)


def test_class_weights_against_the_weighted_loss():
    sizes, weights = (6, 3, 3), torch.tensor([1.0, 4.0, 2.0], dtype=torch.float64)
    shares = weights * torch.tensor(sizes)
    shares /= shares.sum()
    value, W, _, _ = direct(
        sizes, 3, 2e-3, 4e-3, None, lambda s, y: cross_entropy(s, y, weight=weights)
    )
    best = unequal_minimizer(sizes, 3, 2e-3, 4e-3, class_weights=shares)
    assert best.value == pytest.approx(value, abs=1e-12)
    torch.testing.assert_close(best.head_gram, W @ W.T, rtol=1e-6, atol=1e-6)


@settings(max_examples=15)
@given(
    sizes=st.lists(st.integers(1, 200), min_size=2, max_size=8),
    log_strength=st.floats(-7, -2),
    bias=st.sampled_from([None, "free", 0.1]),
    smoothing=st.sampled_from([0.0, 0.2]),
)
def test_dual_gap_closes(sizes, log_strength, bias, smoothing):
    strength = 10**log_strength
    best = unequal_minimizer(sizes, len(sizes), strength, strength, bias, smoothing)
    assert -1e-14 <= best.gap < 1e-10
    if bias is None:
        assert float(best.W.sum(0).norm()) < 1e-6 * (1 + float(best.W.norm()))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("bias", [None, "free", 0.01])
def test_minority_classes_merge_exactly_from_the_threshold_on(bias, smoothing):
    sizes = (20, 20, 2, 2, 2, 5)
    threshold = (1 - smoothing) * math.sqrt(2) / sum(sizes)
    for factor in (0.98, 1.02):
        best = unequal_minimizer(sizes, 6, factor * threshold, factor * threshold, bias, smoothing)
        apart = float((best.W[2] - best.W[3]).norm())
        assert (apart < 1e-7) is (factor > 1)
        assert best.merged == ([[2, 3, 4]] if factor > 1 else [])
        assert best.merge_strength.tolist()[2:5] == pytest.approx([threshold] * 3)
        assert best.merge_strength[5] == math.inf


def test_classes_of_one_share_merge_by_it():
    shares = (0.3, 0.3, 0.2, 0.2)
    threshold = 0.2 / math.sqrt(3)
    for factor in (0.98, 1.02):
        strength = factor * threshold
        best = unequal_minimizer((9, 9, 3, 3), 4, strength, strength, class_weights=shares)
        assert (float((best.W[2] - best.W[3]).norm()) < 1e-6) is (factor > 1)


@pytest.mark.parametrize("bias", [None, "free"])
def test_origin_from_its_threshold_on(bias):
    sizes = np.array([7, 3, 1])
    total = sizes.sum()
    centering = np.eye(3) - 1 / 3
    spread = np.diag(sizes) - np.outer(sizes, sizes) / total
    matrix = centering @ np.diag(sizes) @ centering if bias is None else spread
    threshold = math.sqrt(np.linalg.eigvalsh(matrix)[-1]) / total
    below, above = (
        unequal_minimizer(sizes, 3, f * threshold, f * threshold, bias) for f in (0.99, 1.01)
    )
    assert (below.status, above.status) == ("minimum", "origin")
    assert float(below.W.norm()) > 1e-2
    assert not above.W.any()
    pi = sizes / total
    level = math.log(3) if bias is None else -(pi * np.log(pi)).sum()
    assert above.value == pytest.approx(level, abs=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_balanced_classes_in_closed_form(smoothing):
    k, n, strength = 4, 5, 1e-3
    best = unequal_minimizer([n] * k, k, strength, strength, label_smoothing=smoothing)
    pull = strength * math.sqrt(n) + smoothing / k
    margin = math.log(1 / pull - k + 1)
    value = math.log1p((k - 1) * math.exp(-margin)) + pull * (k - 1) * margin
    assert best.value == pytest.approx(value, abs=1e-12)
    off_diagonal = best.margins[~torch.eye(k, dtype=torch.bool)]
    assert off_diagonal.tolist() == pytest.approx([margin] * (k * k - k), abs=1e-8)
    if not smoothing:
        assert weight_decay_optimum(k, n, k, strength, strength).value == pytest.approx(value)


@pytest.mark.parametrize("bias", [None, "free", 0.1])
@pytest.mark.parametrize("strength", [1e-16, 1e-20, 1e-50])
def test_newton_arrives_where_probabilities_are_below_round_off(strength, bias):
    best = unequal_minimizer(SIZES, 2, strength, strength, bias)
    assert -1e-12 < best.gap / best.value < 1e-9


def test_free_bias_leads_to_another_limit_than_simplex_encoded_labels():
    """M / log(1/r) tends to I - pi 1^T, at a distance that falls like 1/log(1/r)."""
    sizes = torch.tensor([8, 4, 2])
    limit = torch.eye(3) - (sizes / sizes.sum())[:, None].double()
    errors = []
    for strength in (1e-4, 1e-6, 1e-8):
        best = unequal_minimizer(sizes, 3, strength, strength, "free")
        logits = (best.W @ best.means.T) / math.log(1 / strength)
        errors.append(float((logits - limit).norm()) * math.log(1 / strength))
    assert max(errors) < 1.2 * min(errors)


@pytest.mark.parametrize("bias", [False, True])
def test_prediction_at_a_decay_is_the_minimum_and_implies_it(bias):
    sizes, decay = (20, 20, 2, 2), (2e-3, 5e-4)
    best = unequal_minimizer(sizes, 5, *decay, bias="free" if bias else None)
    shape = predicted_geometry(sizes, 5, bias=bias, weight_decay=decay)
    centered = best.W - best.W.mean(0)
    torch.testing.assert_close(shape.head_gram, centered @ centered.T)
    assert implied_feature_decay(best.W, best.means, sizes, decay[0]) == pytest.approx(5e-4)
    weak = predicted_geometry(sizes, 5, bias=bias, weight_decay=(1e-9, 1e-9)).head_gram
    limit = predicted_geometry(sizes, 5, bias=bias).head_gram
    strong = shape.head_gram / shape.head_gram.norm()
    limit = limit / limit.norm()
    assert (weak / weak.norm() - limit).norm() < 0.5 * (strong - limit).norm()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.eye(3), torch.eye(3), [1, 2], 0.1), "3 class sizes, got"),
        ((torch.eye(2), torch.zeros(2, 2), [1, 2], 0.1), "logits that are not all zero"),
        ((torch.eye(2), torch.eye(2), [1, 2], 0.0), "lambda_w: expected a finite number above 0"),
    ],
)
def test_decay_that_cannot_be_implied(arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        implied_feature_decay(*arguments)


def test_squared_loss_drops_rare_classes():
    total = 14
    best = unequal_minimizer(SIZES, 3, 0.11, 0.11, loss="mse")  # N^2 r^2 = 2.37 > 2
    assert best.head_gram[2, 2] == 0
    expected = [math.sqrt(n) - total * 0.11 for n in SIZES[:2]] + [0]
    torch.testing.assert_close(best.head_gram, torch.tensor(expected).double().diag())
    assert unequal_minimizer(SIZES, 3, 1, 1, loss="mse").status == "origin"


@pytest.mark.parametrize("bias", [None, "free"])
@pytest.mark.parametrize("strength", [1e-3, 1e-20, 1e-45])
def test_squared_loss_of_equal_classes_at_any_decay(strength, bias):
    """Each of the K singular values (K - 1 with a bias) is sqrt(n), and gives up N r."""
    k, n = 4, 9
    total, rank = k * n, k - (bias == "free")
    best = unequal_minimizer([n] * k, k, strength, strength, bias, loss="mse")
    kept = math.sqrt(n) - total * strength
    value = rank * (total * strength**2 / 2 + strength * kept)
    assert best.value == pytest.approx(value, rel=1e-12, abs=0)


def test_few_dimensions_lie_between_the_bound_and_any_code():
    balanced = unequal_minimizer([3] * 5, 2, 1e-3, 1e-3)
    assert balanced.status == "best found"
    assert balanced.W.shape == (5, 2)
    assert balanced.gap > 0
    more = unequal_minimizer([3] * 5, 4, 1e-3, 1e-3)
    assert balanced.value - balanced.gap <= more.value + 1e-9 < balanced.value
    biased = unequal_minimizer([9, 3, 3, 1, 1], 2, 1e-3, 1e-3, "free")
    assert biased.value < unequal_minimizer([9, 3, 3, 1, 1], 2, 1e-3, 1e-3).value + 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_sizes": [3]}, "at least 2 classes"),
        ({"dim": 0}, "dim: expected at least 1, got 0"),
        ({"lambda_w": 0}, "lambda_w: expected a finite number above 0"),
        ({"bias": -1.0}, "bias: expected a finite number above 0"),
        ({"label_smoothing": 1.0}, "label_smoothing: expected 0 <= s < 1"),
        ({"class_weights": [1, 1, 1]}, r"sum to 1, got a sum of 3; weights w per sample"),
        ({"class_weights": [0.5, 0.5]}, "3 positive shares"),
        ({"loss": "mse", "label_smoothing": 0.1}, "closed form without these"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    good = {"class_sizes": [3, 2, 1], "dim": 3, "lambda_w": 0.1, "lambda_h": 0.1}
    with pytest.raises(NeuralCollapseError, match=message):
        unequal_minimizer(**good | arguments)


@pytest.mark.untyped
@pytest.mark.parametrize("number", [0.01, np.float32(0.01), torch.tensor(0.01)])
def test_a_decay_of_the_bias_is_a_number_of_any_kind(number):
    value = unequal_minimizer(SIZES, 2, 5e-3, 1e-3, bias=number).value
    assert value == pytest.approx(0.059143970004, rel=1e-6)


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bias": "FREE"}, "bias: expected .*, got .*FREE"),
        ({"bias": -0.1}, "bias: expected a finite number above 0"),
        ({"loss": "MSE"}, "loss: expected one of cross_entropy, mse, got 'MSE'"),
        ({"loss": None}, "loss: expected one of cross_entropy, mse, got None"),
    ],
)
def test_another_loss_or_bias_is_refused(options, message):
    with pytest.raises(NeuralCollapseError, match=message):
        unequal_minimizer(SIZES, 2, 5e-3, 1e-3, **options)


@pytest.mark.parametrize("strength", [1e-3, 1e-9, 1e-12, 1e-14])
@pytest.mark.parametrize(("num_classes", "size"), [(3, 10), (5, 4)])
def test_values_keep_their_digits_at_any_decay(num_classes, size, strength):
    """Of equal classes: q = r sqrt(n) (K - 1) is what a class gives to the others in all."""
    best = unequal_minimizer([size] * num_classes, num_classes, strength, strength)
    q = strength * math.sqrt(size) * (num_classes - 1)
    value = -math.log1p(-q) + q * math.log((num_classes - 1) * (1 - q) / q)
    assert best.value == pytest.approx(value, rel=1e-12, abs=0)
    assert abs(best.gap) < 1e-10 * value


@pytest.mark.parametrize("decay", [1e-8, 1e-13, 1e-15, 1e-18, 1e-25])
def test_the_value_of_equal_classes_is_that_of_the_closed_form_at_any_decay(decay):
    best = unequal_minimizer([5, 5, 5], 3, decay, decay)
    assert best.value == pytest.approx(weight_decay_optimum(3, 5, 3, decay, decay).value, rel=1e-12)


@pytest.mark.parametrize("bias", [None, "free", 1e-3])
@pytest.mark.parametrize("smoothing", [0.0, 1e-12])
@pytest.mark.parametrize("decay", [1e-8, 1e-12, 1e-15])
def test_the_gap_is_small_beside_the_value_and_not_negative_beyond_its_rounding(
    decay, smoothing, bias
):
    best = unequal_minimizer([8, 4, 2], 2, decay, decay, bias, label_smoothing=smoothing)
    assert -1e-13 <= best.gap / best.value < 1e-5

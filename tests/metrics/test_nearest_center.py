import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import naive_collapse as naive
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.metrics import CollapseState, nc4_agreement, ncc_accuracy, nearest_center


def test_as_defined(case):
    means = case.moments.means
    nearest = naive.nearest_center(case.features, means.numpy())
    assert nearest_center(case.features, means).tolist() == nearest.tolist()
    hits = nearest == case.labels.numpy()
    assert ncc_accuracy(case.features, case.labels, means) == pytest.approx(hits.mean())


@pytest.mark.parametrize("with_bias", [True, False])
def test_agreement_as_defined(case, with_bias):
    means, bias = case.moments.means, case.bias if with_bias else None
    nearest = naive.nearest_center(case.features, means.numpy())
    agreeing = 0
    for x, found in zip(case.features.numpy(), nearest, strict=True):
        logits = [float(w @ x) for w in case.weight.numpy()]
        if with_bias:
            logits = [a + float(b) for a, b in zip(logits, case.bias, strict=True)]
        agreeing += int(np.argmax(logits)) == found
    expected = agreeing / len(nearest)
    assert nc4_agreement(case.features, means, case.weight, bias) == pytest.approx(expected)


@given(seed=st.integers(0, 100), scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_rotation_scale_and_shift_change_nothing(seed, scale, shift):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(50, 5, generator=generator, dtype=torch.float64)
    means = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))[0]
    found = nearest_center(
        scale * (features @ rotation + shift), scale * (means @ rotation + shift)
    )
    assert found.tolist() == nearest_center(features, means).tolist()


def test_the_bias_decides():
    means = torch.tensor([[-1.0], [1.0]])
    features = torch.tensor([[-0.5], [0.5], [2.0]])
    assert nc4_agreement(features, means, weight=means) == 1
    # -x + 2 > x for x < 1
    assert nc4_agreement(features, means, means, torch.tensor([2.0, 0.0])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int32])
def test_every_dtype(dtype):
    means = 5 * simplex_etf(4, 6, "axis")
    features = (10 * means[torch.arange(20) % 4]).to(dtype)
    assert nearest_center(features, means).tolist() == [0, 1, 2, 3] * 5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert nc4_agreement(features, means, 3 * means) == 1


def test_ties_go_to_the_lowest_label():
    assert nearest_center(
        torch.zeros(1, 1), torch.tensor([[math.nan], [1.0], [-1.0]])
    ).tolist() == [1]


def test_no_samples_have_no_share():
    means, empty = torch.eye(2), torch.empty(0, 2)
    assert nearest_center(empty, means).tolist() == []
    assert math.isnan(ncc_accuracy(empty, torch.empty(0, dtype=torch.int64), means))
    assert math.isnan(nc4_agreement(empty, means, means))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, m: nearest_center(x, m * math.nan), "means: expected a class with samples"),
        (lambda x, m: nc4_agreement(x, m, m[:2]), r"weight: expected shape \(3, 2\)"),
        (lambda x, m: nc4_agreement(x, m, m, m[0]), r"bias: expected shape \(3,\), got \(2,\)"),
        (lambda x, m: ncc_accuracy(x, [0], m), "labels: expected 4 labels, one per row"),
        (lambda x, m: ncc_accuracy(x, [0, 1, 2, 3], m), "below 3, the number of classes"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call(torch.randn(4, 2), torch.randn(3, 2))


@pytest.mark.parametrize("scale", [1e-100, 1e39, 1e100])
def test_the_nearest_mean_does_not_depend_on_the_unit(scale):
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    labels = torch.arange(200) % 7
    features = means[labels] + 0.5 * torch.randn(200, 5, generator=generator, dtype=torch.float64)
    expected = ncc_accuracy(features, labels, means)
    assert 0.5 < expected < 1
    assert ncc_accuracy(scale * features, labels, scale * means) == expected


@pytest.mark.parametrize("gap", [1e-4, 1e-6, 1e-9])
def test_leaving_out_is_exact_for_means_that_are_close_beside_their_radius(gap):
    rng = np.random.default_rng(0)
    means = rng.standard_normal((4, 16))
    means[1] = means[0] + gap * rng.standard_normal(16)
    labels = np.arange(240) % 4
    rows = (means[labels] + 3 * gap * rng.standard_normal((240, 16))).astype(np.float32)
    state = CollapseState(4, 16, feature_budget=2**20)
    state.gather(rows, labels)
    state.settle(state.moments.means)
    rows, right = rows.astype(np.float64), 0
    means = np.stack([rows[labels == k].mean(0) for k in range(4)])
    spread = np.square(rows - means[labels]).sum(1)
    for row, own in zip(rows, labels, strict=True):
        squares = np.square(row - means).sum(1)
        variance = spread[labels == own].mean() * 60 / 59
        left_out = squares[own] * (60 / 59) ** 2 - variance / (60 * 59)
        right += left_out < np.delete(squares, own).min()
    assert state.left_out.tolist() == [right, 240]

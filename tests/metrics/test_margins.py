import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import naive_collapse as naive
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.metrics import margin_ceiling, margin_scale, pair_margins, sample_margins
from neuralcollapse.moments import ClassMoments


def logits_of(case):
    return case.features @ case.weight.T + case.bias


def test_sample_margins_as_defined(case):
    logits = logits_of(case)
    actual = sample_margins(logits, case.labels)
    np.testing.assert_allclose(actual, naive.sample_margins(logits, case.labels), rtol=1e-12)
    wrong = logits.argmax(1) != case.labels
    assert torch.equal(actual < 0, wrong)


def test_pair_margins_as_defined(case):
    logits = logits_of(case)
    gamma = pair_margins(logits, case.labels)
    for i in range(case.num_classes):
        for j in range(case.num_classes):
            own = logits[case.labels == i]
            if i == j:
                assert math.isnan(gamma[i, j])
            elif not len(own):
                assert gamma[i, j] == math.inf
            else:
                assert float(gamma[i, j]) == min(float(row[i] - row[j]) for row in own)
    least = sample_margins(logits, case.labels).min()
    assert float(gamma[~torch.isnan(gamma)].min()) == pytest.approx(float(least), abs=1e-12)


@pytest.mark.parametrize("with_bias", [True, False])
def test_margin_scale_as_defined(case, with_bias):
    head, rows = case.weight.numpy(), case.features.numpy()
    if with_bias:
        head = np.hstack([head, case.bias[:, None]])
        rows = np.hstack([rows, np.ones((len(rows), 1))])
    centered = head - head.mean(0)
    spread = sum((centered[y] ** 2).sum() for y in case.labels) / len(rows)
    expected = math.sqrt(spread * sum((x**2).sum() for x in rows) / len(rows))
    actual = margin_scale(case.moments, case.weight, case.bias if with_bias else None)
    assert actual == pytest.approx(expected, rel=1e-9)


@given(seed=st.integers(0, 1000), k=st.integers(2, 5))
def test_no_normalised_margin_exceeds_the_ceiling(seed, k):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(4 * k) % k
    weight = torch.randn(k, 6, generator=generator, dtype=torch.float64)
    features = weight[labels] + 0.3 * torch.randn(4 * k, 6, generator=generator)
    moments = ClassMoments(k, 6).update(features, labels)
    margin = float(sample_margins(features @ weight.T, labels).min())
    assert margin / margin_scale(moments, weight) < margin_ceiling(k)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("k", [2, 3, 10])
def test_collapse_attains_the_ceiling_at_every_scale(k, scale):
    vertices = simplex_etf(k, 12)
    labels = torch.arange(3 * k) % k
    features, weight = scale * vertices[labels], 2 * vertices + 5  # softmax does not see the 5
    moments = ClassMoments(k, 12).update(features, labels)
    margins = sample_margins(features @ weight.T, labels)
    assert float(margins.min()) == pytest.approx(2 * scale * k / (k - 1))
    assert float(margins.min()) / margin_scale(moments, weight) == pytest.approx(margin_ceiling(k))


def test_dtype_is_kept_and_ties_are_zero():
    assert sample_margins(torch.tensor([[1, 1]]).half(), [0]).dtype == torch.float16
    assert sample_margins(torch.tensor([[1.0, 1.0]]), [0]).tolist() == [0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: sample_margins(torch.ones(2, 1), [0, 0]), r"logits: expected shape \(n, K\)"),
        (lambda m: sample_margins(torch.ones(2), [0, 0]), r"logits: .*got \(2,\)"),
        (lambda m: sample_margins(torch.ones(2, 2), [0, 2]), "below num_classes = 2"),
        (lambda m: pair_margins(torch.ones(2, 2), [0]), "labels: expected 2 labels"),
        (lambda m: margin_ceiling(1), "num_classes: expected at least 2, got 1"),
        (lambda m: margin_scale(m, torch.ones(2, 3)), r"weight: expected shape \(2, 2\)"),
        (
            lambda m: margin_scale(m, torch.ones(2, 2), torch.ones(3)),
            r"bias: expected shape \(2,\)",
        ),
        (lambda m: margin_scale(ClassMoments(2, 2), torch.ones(2, 2)), "at least one sample"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call(ClassMoments(2, 2).update(torch.randn(2, 2), [0, 1]))


def test_logits_that_are_not_finite_are_refused():
    with pytest.raises(NonFiniteError, match="logits: expected finite numbers, got 1 NaN"):
        pair_margins(torch.tensor([[math.inf, 0.0]]), [0])

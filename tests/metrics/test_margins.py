import math

import numpy as np
import pytest
import torch

import naive_collapse as naive
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.metrics import margin_min, pair_margins, sample_margins


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


def test_the_least_margin_is_that_of_samples_and_of_pairs(case):
    logits = logits_of(case)
    least = margin_min(logits, case.labels)
    assert least == float(naive.sample_margins(logits, case.labels).min())
    gamma = pair_margins(logits, case.labels)
    assert least == float(gamma[~torch.isnan(gamma)].min())


def test_no_sample_and_nan_have_no_least_margin():
    assert math.isnan(margin_min(torch.empty(0, 3), torch.empty(0, dtype=torch.int64)))
    with pytest.raises(NonFiniteError, match=r"logits: .*1 NaN or infinite of 2"):
        margin_min(torch.tensor([[math.nan, 0.0], [1.0, 0.0]]), [0, 0])


def test_dtype_is_kept_and_ties_are_zero():
    assert sample_margins(torch.tensor([[1, 1]]).half(), [0]).dtype == torch.float16
    assert sample_margins(torch.tensor([[1.0, 1.0]]), [0]).tolist() == [0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_margins(torch.ones(2, 1), [0, 0]), r"logits: expected shape \(n, K\)"),
        (lambda: sample_margins(torch.ones(2), [0, 0]), r"logits: .*got \(2,\)"),
        (lambda: sample_margins(torch.ones(2, 2), [0, 2]), "below 2, the number of classes"),
        (lambda: pair_margins(torch.ones(2, 2), [0]), "labels: expected 2 labels"),
        (lambda: margin_min(torch.ones(2, 1), [0, 0]), r"logits: expected shape \(n, K\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_logits_that_are_not_finite_are_refused():
    with pytest.raises(NonFiniteError, match="logits: expected finite numbers, got 1 NaN"):
        pair_margins(torch.tensor([[math.inf, 0.0]]), [0])

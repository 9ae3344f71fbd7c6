import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.ood import risk_coverage

SAMPLES = st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6)


@given(samples=SAMPLES)
def test_ties_are_the_mean_over_all_orders(samples):
    risks = []
    for order in itertools.permutations(samples):
        ranked = sorted(order, key=lambda sample: -sample[0])  # stable: the order breaks ties
        errors = np.cumsum([not right for _, right in ranked])
        risks.append(errors / np.arange(1, len(ranked) + 1))
    curve = risk_coverage(*zip(*samples, strict=True))
    np.testing.assert_allclose(curve.risk, np.mean(risks, axis=0))
    np.testing.assert_allclose(curve.coverage * len(samples), np.arange(1, len(samples) + 1))
    assert curve.aurc == pytest.approx(np.mean(risks))


def test_tensors_are_taken_too():
    scores = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    curve = risk_coverage(scores, torch.tensor([True, False, True]))
    np.testing.assert_allclose(curve.risk, [0, 0, 1 / 3])


def test_a_confidence_that_tells_nothing_has_the_risk_of_all():
    curve = risk_coverage(np.zeros(8), [True] * 6 + [False] * 2)
    np.testing.assert_allclose(curve.risk, 0.25)


def test_excess_is_none_when_errors_come_last_and_greatest_when_first():
    right = np.array([True] * 7 + [False] * 3)
    confidence = np.arange(10)[::-1]
    assert risk_coverage(confidence, right).excess_aurc == 0
    worst = risk_coverage(-confidence, right).excess_aurc
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(10)
        assert 0 <= risk_coverage(order, right).excess_aurc <= worst


def test_coverage_at_a_risk():
    curve = risk_coverage([5, 4, 3, 2, 1], [True, False, True, True, True])
    assert curve.coverage_at(0.3) == 1
    assert curve.coverage_at(0.1) == pytest.approx(0.2)
    assert risk_coverage([1.0], [False]).coverage_at(0.5) == 0


def test_bad_input_is_refused():
    with pytest.raises(NeuralCollapseError, match="one of each for at least one sample"):
        risk_coverage([1.0, 2.0], [True])
    with pytest.raises(NonFiniteError, match="confidence: expected finite"):
        risk_coverage([float("inf")], [True])

import math

import numpy as np
import pytest
import torch

import naive_collapse as naive
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics import Decisions


@pytest.mark.parametrize("source", ["head", "logits"])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_as_defined(case, source, batch):
    means = case.moments.means
    logits = case.features @ case.weight.T + case.bias
    head = (case.weight, case.bias) if source == "head" else ()
    decisions = Decisions(means, *head)
    for start in range(0, len(case.labels), batch):
        part = slice(start, start + batch)
        own = logits[part] if source == "logits" else None
        decisions.update(case.features[part], case.labels[part], own)
    labels = case.labels.numpy()
    nearest = naive.nearest_center(case.features, means.numpy())
    margins = naive.sample_margins(logits, labels)
    right, agreeing = nearest == labels, nearest == logits.argmax(1).numpy()
    assert decisions.labels.tolist() == labels.tolist()
    np.testing.assert_allclose(decisions.margins, margins, rtol=1e-9, atol=1e-9)
    assert decisions.ncc_accuracy == pytest.approx(right.mean())
    assert decisions.agreement == pytest.approx(agreeing.mean())
    assert decisions.accuracy == pytest.approx((margins > 0).mean())
    assert decisions.margin_min == pytest.approx(margins.min(), rel=1e-9)
    for i in range(case.num_classes):
        for j in range(case.num_classes):
            gaps = (logits[:, i] - logits[:, j])[labels == i]
            least = float(gaps.min()) if len(gaps) else math.inf
            expected = math.nan if i == j else least
            found = float(decisions.pair_margins[i, j])
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)
    table = decisions.per_class()
    for k in range(case.num_classes):
        own = labels == k
        for name, values in [
            ("ncc_accuracy", right),
            ("nc4_agreement", agreeing),
            ("accuracy", margins > 0),
        ]:
            expected = values[own].mean() if own.any() else math.nan
            assert float(table[name][k]) == pytest.approx(expected, nan_ok=True)
        least = margins[own].min() if own.any() else math.nan
        assert float(table["margin_min"][k]) == pytest.approx(least, rel=1e-9, nan_ok=True)


def test_without_logits_only_the_nearest_mean_is_judged(case):
    decisions = Decisions(case.moments.means)
    decisions.update(case.features, case.labels)
    assert math.isnan(decisions.accuracy)
    assert math.isnan(decisions.agreement)
    assert math.isnan(decisions.margin_min)
    assert len(decisions.margins) == 0
    assert decisions.pair_margins is None
    assert set(decisions.per_class()) == {"ncc_accuracy"}


def test_nothing_yet():
    decisions = Decisions(torch.eye(2))
    assert math.isnan(decisions.ncc_accuracy)
    assert decisions.labels.tolist() == []
    assert decisions.per_class() == {}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: d.update(torch.ones(2, 3), [0, 0]), r"features: expected shape \(n, 2\)"),
        (lambda d: d.update(torch.ones(2, 2), [0]), "labels: expected 2 labels, one a row"),
        (lambda d: d.update(torch.ones(2, 2), [0, 2]), "below num_classes = 2"),
        (
            lambda d: d.update(torch.ones(2, 2), [0, 1], torch.ones(2, 3)),
            r"logits: expected shape \(2, 2\), got \(2, 3\); pass one column a class",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call(Decisions(torch.eye(2)))


def test_pairs_of_many_classes_are_not_kept():
    for num_classes in (256, 257):
        decisions = Decisions(torch.eye(num_classes), torch.eye(num_classes))
        decisions.update(torch.eye(num_classes), torch.arange(num_classes))
        assert (decisions.pair_margins is None) == (num_classes > 256)

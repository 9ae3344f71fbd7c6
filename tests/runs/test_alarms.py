import math

import pytest
import torch

from neuralcollapse.geometry import simplex_etf
from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.measurement.split_report import SplitReport
from neuralcollapse.metrics import CollapseState
from neuralcollapse.runs.alarms.alarms import find_alarms
from neuralcollapse.runs.alarms.minority import minority_cosine
from neuralcollapse.runs.alarms.rank import means_rank
from neuralcollapse.runs.alarms.situation import Situation
from neuralcollapse.theory import separation_optimum

K = 4
HEALTHY = {
    "nc1_trace_ratio": 0.05,
    "test_nc1_trace_ratio": 0.2,
    "accuracy": 1.0,
    "test_accuracy": 0.95,
    "margin_min": 1.0,
}


def situation(
    values=(), means=None, labels=range(K), weight=None, records=(), epoch=9, last=10, without=()
):
    means = simplex_etf(K, 5, "axis") if means is None else means
    labels = torch.tensor(list(labels))
    state = CollapseState(K, 5)
    state.gather(means[labels], labels)
    weight = simplex_etf(K, 5, "axis") if weight is None else weight
    found = {name: value for name, value in (HEALTHY | dict(values)).items() if name not in without}
    names = ["a", "b", "c", "d"]
    measured = CollapseReport(SplitReport(found, state), names, weight)
    return Situation(measured, list(records), names, epoch, last)


def kinds(*args, **kwargs):
    return [alarm.kind for alarm in find_alarms(situation(*args, **kwargs))]


def test_a_healthy_run_raises_none():
    assert kinds() == []


def test_absent_class():
    raised = find_alarms(situation(labels=[0, 1, 3]))
    assert [alarm.kind for alarm in raised] == ["absent_class"]
    assert "no training sample of class c" in raised[0].message


def test_minority_collapse_where_rows_have_merged():
    labels = [0] * 10 + [1] * 10 + [2, 3]
    weight = simplex_etf(K, 5, "axis")
    assert kinds(labels=labels, weight=weight) == []
    merged = weight.clone()
    merged[3] = merged[2] + 0.05 * weight[3]
    assert kinds(labels=labels, weight=merged) == ["minority_collapse"]
    assert kinds(weight=merged) == []  # the same rows, where all classes are of one size


def test_minority_rows_of_the_separation_optimum_merge_as_imbalance_grows():
    cosines = []
    for ratio in (5, 20, 100, 1000, 100_000):
        sizes = torch.tensor([ratio, ratio, ratio, 1, 1, 1])
        cosines.append(minority_cosine(separation_optimum(sizes.tolist(), 5).W, sizes))
    assert cosines == sorted(cosines)
    assert cosines[0] < 0 < 0.95 < cosines[-1] < 1


def test_minority_cosine_needs_two_classes_and_does_not_see_a_common_offset():
    balanced = simplex_etf(3, 3)
    assert math.isnan(minority_cosine(balanced, torch.tensor([9, 9, 1])))
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    counts = torch.tensor([50, 1, 1, 1])
    shifted = weight + torch.tensor([5.0, -3.0, 2.0])  # which softmax does not see
    assert minority_cosine(shifted, counts) == pytest.approx(minority_cosine(weight, counts))


def test_negative_margins_count_only_late():
    wrong = {"margin_min": -0.5, "accuracy": 0.97}
    assert kinds(wrong, epoch=8) == ["negative_margins"]
    assert kinds(wrong, epoch=7) == []
    assert kinds(wrong, last=None) == []
    message = find_alarms(situation(wrong, epoch=8))[0].message
    assert "3 % of the training samples are still wrong at epoch 8 of 10" in message


@pytest.mark.parametrize(
    ("values", "raised"),
    [
        ({"test_nc1_trace_ratio": 1.5}, True),
        ({"test_accuracy": 0.85}, True),
        ({"test_accuracy": 0.85, "nc1_trace_ratio": 0.5}, False),  # nothing has collapsed
        ({"test_nc1_trace_ratio": math.nan}, False),
    ],
)
def test_collapse_without_generalisation(values, raised):
    assert ("no_generalization" in kinds(values)) == raised


def test_no_validation_data_is_no_alarm():
    assert kinds(without=("test_nc1_trace_ratio", "test_accuracy")) == []


def test_loss_of_rank_needs_a_fall():
    vertices = simplex_etf(K, 5, "axis")
    merged = vertices[[0, 0, 2, 2]] + 1e-3 * vertices
    assert means_rank(situation().measured.train.moments) == pytest.approx(K - 1)
    assert means_rank(situation(means=merged).measured.train.moments) == pytest.approx(1, abs=0.05)
    assert kinds(means=merged, records=[{"means_rank": 2.9}]) == ["loss_of_rank"]
    assert kinds(means=merged, records=[{"means_rank": 1.5}]) == []
    assert kinds(means=merged) == []
    equal = torch.ones(K, 5)
    assert means_rank(situation(means=equal).measured.train.moments) == 0
    assert kinds(means=equal, records=[{"means_rank": 2.9}]) == ["loss_of_rank"]


def measured(labels, decided, test_labels, test_decided, class_names=("a", "b", "c")):
    """A report in which a head decides as it is told, and situations of it."""
    generator = torch.Generator().manual_seed(0)
    K = len(class_names)
    means = 5 * torch.eye(K)

    def split(labels, decided):
        labels = torch.tensor(labels)
        state = CollapseState(K, K, keep=True, centers=means)
        features = means[labels] + 3 * torch.randn(len(labels), K, generator=generator)
        logits = torch.nn.functional.one_hot(torch.tensor(decided), K).float()
        state.gather(features, labels, logits)
        return SplitReport.of(state, means, None)

    test = split(test_labels, test_decided)
    return CollapseReport(split(labels, decided), list(class_names), means, None, test)


def test_overfitting_and_a_class_that_is_lost_by_name():
    """Everything right on training data; on test data two thirds of b are taken for c."""
    labels, wrong = [0, 1, 2] * 30, [0, 1, 2] * 10 + [0, 2, 2] * 20
    report = measured(labels, labels, labels, wrong)
    found = {alarm.kind: alarm.message for alarm in find_alarms(Situation(report, [], "abc", 3))}
    assert set(found) == {"overfitting", "low_recall"}
    assert "accuracy is 100 % on training data and 77.8 % on test data" in found["overfitting"]
    assert "of class b only 33.3 % of the test samples are right" in found["low_recall"]
    assert "of all classes 77.8 %, mostly taken for c" in found["low_recall"]
    fine = measured(labels, labels, labels, labels)
    assert find_alarms(Situation(fine, [], "abc", 3)) == []


def test_minority_classes_that_are_wrong_on_test_data():
    labels = [0] * 60 + [1] * 60 + [2] * 10 + [3] * 10
    decided = [0] * 60 + [1] * 60 + [3] * 6 + [2] * 4 + [2] * 6 + [3] * 4
    names = ("a", "b", "c", "d")
    report = measured(labels, labels, labels, decided, names)
    (message,) = [
        alarm.message
        for alarm in find_alarms(Situation(report, [], names, 3))
        if alarm.kind == "minority_collapse"
    ]
    assert "40 % of their test samples are right, of the other classes' 100 %" in message


@pytest.mark.parametrize(
    ("still_wrong", "accuracy", "raised"),
    [
        (([4, 17], 10, 100), 0.98, True),
        (([4, 17], 9, 100), 0.98, False),  # not for long
        ((range(20), 19, 100), 0.79, True),  # many, but of the others nearly all are right
        ((range(20), 19, 100), 0.75, False),  # a network that is yet to learn
        (([4, 17], 10, 100), 0.94, False),
        ((range(51), 19, 100), 0.49, False),  # most: nobody can say which are wrong
        (([], 19, 100), 1.0, False),
        (None, 1.0, False),
    ],
)
def test_samples_that_stay_wrong(still_wrong, accuracy, raised):
    base = situation({"accuracy": accuracy})
    again = Situation(base.measured, [], base.class_names, 5, None, still_wrong=still_wrong)
    found = {alarm.kind: alarm.message for alarm in find_alarms(again)}
    assert ("stubborn_samples" in found) == raised
    if raised and len(still_wrong[0]) == 2:
        assert (
            "2 of 100 training samples were wrong at each of the last 10"
            in found["stubborn_samples"]
        )
        assert "(numbers 4, 17 in the order of the loader)" in found["stubborn_samples"]


def test_values_that_have_no_number():
    found = find_alarms(situation({"cdnv": math.inf, "nc3_product": math.nan}))
    assert [alarm.kind for alarm in found] == ["values_dropped"]
    assert found[0].message.startswith("cdnv, nc3_product: no finite value")


def test_the_words_of_no_generalization_follow_the_numbers():
    """Where only accuracy falls behind, no smaller spread stands after a "but"."""
    apart, together = (
        next(
            alarm.message
            for alarm in find_alarms(situation({"test_accuracy": 0.6, "test_nc1_trace_ratio": nc1}))
            if alarm.kind == "no_generalization"
        )
        for nc1 in (0.4, 0.04)
    )
    assert "0.05 of that between classes on training data, but 0.4 on test data; " in apart
    assert "0.05 of that between classes on training data, and 0.04 on test data; " in together
    assert "accuracy is 100 % on training data and 60 % on test data; try more data" in together

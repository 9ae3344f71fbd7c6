import math
import re
from dataclasses import replace

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
HEALTHY = {"nc1_trace_ratio": 0.05, "accuracy": 1.0, "margin_min": 1.0}


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
    ("noise", "test_noise", "wrong", "raised"),
    [
        (0.1, 20.0, 0, "no_generalization"),
        (0.1, 0.1, 15, "no_generalization"),
        (0.1, 0.1, 5, None),
        (3.0, 3.0, 15, "overfitting"),  # nothing has collapsed
        (3.0, 3.0, 5, None),
    ],
)
def test_collapse_without_generalisation(noise, test_noise, wrong, raised):
    labels = [0, 1, 2] * 30
    decided = [(k + 1) % 3 for k in labels[:wrong]] + labels[wrong:]
    report = measured(labels, labels, labels, decided, noise=(noise, test_noise))
    found = {alarm.kind for alarm in find_alarms(Situation(report, [], "abc", 3))}
    assert found == ({raised} if raised else set())


def test_no_validation_data_is_no_alarm():
    labels = [0, 1, 2] * 30
    report = replace(measured(labels, labels, labels, labels[::-1], noise=(0.1, 20)), test=None)
    assert find_alarms(Situation(report, [], "abc", 3)) == []


def by_recall(sizes, recalls):
    """Return labels and decisions in which each class has its size and recall."""
    labels = [k for k, size in enumerate(sizes) for _ in range(size)]
    decided = []
    for k, (size, recall) in enumerate(zip(sizes, recalls, strict=True)):
        right = round(size * recall)
        decided += [k] * right + [(k + 1) % len(sizes)] * (size - right)
    return labels, decided


LONG_TAILED, EQUAL = (400, 100, 20), (100, 100, 100)


@pytest.mark.parametrize("noise", [0.1, 3.0])
@pytest.mark.parametrize("sizes", [(LONG_TAILED, EQUAL), (EQUAL, LONG_TAILED)])
@pytest.mark.parametrize(
    ("recalls", "tested", "raised"),
    [
        ((1.0, 0.9, 0.6), (1.0, 0.9, 0.6), False),  # 96 % of samples right, or 83 %
        ((1.0, 1.0, 1.0), (0.9, 0.7, 0.7), True),
        ((1.0, 1.0, 1.0), (1.0, 0.99, 0.6), True),  # hardly any of its samples, where it is rare
    ],
)
def test_another_balance_of_test_data_is_not_called_overfitting(
    noise, sizes, recalls, tested, raised
):
    train, test = by_recall(sizes[0], recalls), by_recall(sizes[1], tested)
    report = measured(*train, *test, noise=(noise, noise))
    found = {alarm.kind: alarm.message for alarm in find_alarms(Situation(report, [], "abc", 3))}
    kind = "overfitting" if noise > 1 else "no_generalization"
    assert {"overfitting", "no_generalization"} & set(found) == ({kind} if raised else set())
    if raised:
        own, theirs = (f"{100 * sum(each) / 3:.3g} %" for each in (recalls, tested))
        words = f"accuracy, averaged over classes, is {own} on training data and {theirs} on test"
        assert words in found[kind]


def test_classes_that_only_one_of_both_has_are_not_compared():
    train, test = by_recall((30, 30, 30), (1, 1, 0)), by_recall((30, 30, 0), (1, 1, 0))
    hard = by_recall((30, 30, 30), (1, 1, 0))
    fewer = by_recall((30, 30, 0), (1, 1, 0))
    for parts in ((*train, *test), (*fewer, *hard)):
        report = measured(*parts)
        kinds = {alarm.kind for alarm in find_alarms(Situation(report, [], "abc", 3))}
        assert not {"overfitting", "no_generalization"} & kinds


def test_one_wrong_test_sample_of_a_class_is_no_overfitting():
    train, test = by_recall((50, 50, 50), (1, 1, 1)), by_recall((50, 50, 1), (1, 1, 0))
    assert find_alarms(Situation(measured(*train, *test), [], "abc", 3)) == []


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


def measured(
    labels, decided, test_labels, test_decided, class_names=("a", "b", "c"), noise=(3.0, 3.0)
):
    """A report in which a head decides as it is told, and situations of it."""
    generator = torch.Generator().manual_seed(0)
    K = len(class_names)
    means = 5 * torch.eye(K)

    def split(labels, decided, noise):
        labels = torch.tensor(labels)
        state = CollapseState(K, K, keep=True, centers=means)
        features = means[labels] + noise * torch.randn(len(labels), K, generator=generator)
        logits = torch.nn.functional.one_hot(torch.tensor(decided), K).float()
        state.gather(features, labels, logits)
        return SplitReport.of(state, means, None)

    test = split(test_labels, test_decided, noise[1])
    return CollapseReport(split(labels, decided, noise[0]), list(class_names), means, None, test)


def test_overfitting_and_a_class_that_is_lost_by_name():
    """Everything right on training data; on test data two thirds of b are taken for c."""
    labels, wrong = [0, 1, 2] * 30, [0, 1, 2] * 10 + [0, 2, 2] * 20
    report = measured(labels, labels, labels, wrong)
    found = {alarm.kind: alarm.message for alarm in find_alarms(Situation(report, [], "abc", 3))}
    assert set(found) == {"overfitting", "low_recall"}
    words = "accuracy, averaged over classes, is 100 % on training data and 77.8 % on test data"
    assert words in found["overfitting"]
    assert "of class b only 33.3 % of the test samples are right" in found["low_recall"]
    words = "of its training samples 100 %, averaged over classes 77.8 %, mostly taken for c"
    assert words in found["low_recall"]
    fine = measured(labels, labels, labels, labels)
    assert find_alarms(Situation(fine, [], "abc", 3)) == []


def test_minority_classes_that_are_wrong_on_test_data():
    labels = [0] * 60 + [1] * 60 + [2] * 10 + [3] * 10
    decided = [0] * 60 + [1] * 60 + [3] * 6 + [2] * 4 + [2] * 6 + [3] * 4
    names = ("a", "b", "c", "d")
    report = measured(labels, labels, labels, decided, names)
    fine = measured(labels, labels, labels, labels, names)
    both = replace(fine, others={"test_night": report.test})  # the second loader is looked at, too
    for each, where in ((report, "test data"), (both, "test data night")):
        (message,) = [
            alarm.message
            for alarm in find_alarms(Situation(each, [], names, 3))
            if alarm.kind == "minority_collapse"
        ]
        assert (
            f"40 % of their samples in {where} are right (100 % of their training samples), of "
            "the other classes' 100 %"
        ) in message


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
            "2 of 100 training samples stayed wrong at each of the last 10"
            in found["stubborn_samples"]
        )
        assert "(numbers 4, 17 in the order of the loader)" in found["stubborn_samples"]


def test_values_that_have_no_number():
    found = find_alarms(situation({"cdnv": math.inf, "nc3_product": math.nan}))
    assert [alarm.kind for alarm in found] == ["values_dropped"]
    assert found[0].message.startswith("cdnv, nc3_product: no finite value")


def test_the_words_of_no_generalization_follow_the_numbers():
    """Where only accuracy falls behind, no smaller spread stands after a "but"."""
    labels = [0, 1, 2] * 30
    decided = [0, 2, 0] * 18 + labels[54:]
    apart, together = (
        next(
            alarm.message
            for alarm in find_alarms(
                Situation(measured(labels, labels, labels, decided, noise=noise), [], "abc", 3)
            )
            if alarm.kind == "no_generalization"
        )
        for noise in ((0.1, 1.0), (0.5, 0.1))
    )
    assert re.search("on training data, but 0[.0-9]+ on test data; accuracy", apart)
    assert re.search("on training data, and [.0-9e-]+ on test data; accuracy", together)
    assert "is 100 % on training data and 60 % on test data; try more data" in together


@pytest.mark.parametrize("sizes", [LONG_TAILED, EQUAL, (20, 100, 400)])
def test_a_class_that_was_never_learned_is_lost_at_any_balance_and_said_to_be(sizes):
    """It is compared with the other classes, each counting alike, not with the most frequent."""
    train, test = by_recall(LONG_TAILED, (1, 1, 0.4)), by_recall(sizes, (1, 1, 0.4))
    found = find_alarms(Situation(measured(*train, *test), [], "abc", 3))
    (message,) = [alarm.message for alarm in found if alarm.kind == "low_recall"]
    assert "of class c only 40 % of the test samples are right, of its training samples 40 %" in (
        message
    )
    assert "averaged over classes 80 %" in message
    middling = by_recall(sizes, (0.6, 0.6, 0.4))  # 0.57 of the samples, or 0.53 of the classes
    found = find_alarms(Situation(measured(*train, *middling), [], "abc", 3))
    assert "low_recall" not in {alarm.kind for alarm in found}

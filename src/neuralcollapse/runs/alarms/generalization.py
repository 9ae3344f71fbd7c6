"""Alarms about test data: it does not follow, or a class of it is lost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.metrics.variability import nc1_trace_ratio
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.runs.alarms.situation import LEARNED, Situation, called
from neuralcollapse.wording import share

# Rules of thumb of this library, not thresholds of theory.
COLLAPSED = 0.1  # tr Σ_W / tr Σ_B of training features
GAP = 0.1  # of mean recalls, ...
ERRORS = 3  # ... and so many standard errors: a class may have one test sample
LOW_RECALL = 0.5  # of a class on test data ...
RECALL_GAP = 0.25  # ... and so far below that of all classes
ENOUGH = 5  # test samples of a class, to say anything about it


def overfitting(situation: Situation) -> str | None:
    """Warn where test data stays far below training data before collapse sets in."""
    worst = _worst_gap(situation)
    if worst is None or worst.spread <= COLLAPSED or not worst.wide:
        return None
    return f"overfitting: {worst.recalls}; try more data, augmentation or weight decay"


def no_generalization(situation: Situation) -> str | None:
    """Warn where training features collapse and test data does not follow."""
    worst = _worst_gap(situation)
    if worst is None or not worst.spread <= COLLAPSED:
        return None
    own, spread = worst.spread, worst.test_spread
    if not (spread >= 1 or worst.wide):
        return None
    joined = "and" if spread <= own else "but"
    return (
        f"collapse without generalisation: the within-class variability is {own:.2g} of that "
        f"between classes on training data, {joined} {spread:.2g} on {worst.name}; "
        f"{worst.recalls}; try more data, augmentation or weight decay, not longer training"
    )


def low_recall(situation: Situation) -> str | None:
    """Name the class of which most test samples are wrong, and what they are taken for."""
    for part, split in situation.tests.items():
        found = _low_recall(situation, called(part), split.state)
        if found is not None:
            return found
    return None


def _low_recall(situation: Situation, name: str, state: CollapseState) -> str | None:
    recall, counts = state.counts.by_class("accuracy"), state.moments.counts
    trained = situation.measured.train.state
    overall = float(recall.nanmean())  # whatever the share of each class
    low = (recall < LOW_RECALL) & (recall < overall - RECALL_GAP) & (counts >= ENOUGH)
    worst = torch.where(low, recall, math.inf).argsort(stable=True)[: int(low.sum())].tolist()
    if not worst or not _accuracy_of(trained, ~low) >= LEARNED:
        return None
    first, names = worst[0], situation.class_names
    others = f" (also low: {situation.listed(worst[1:], 5)})" if len(worst) > 1 else ""
    taken = _taken_for(state, first)
    mostly = "" if taken is None else f", mostly taken for {names[taken]}"
    where = "the test samples" if name == "test data" else f"the samples of {name}"
    learned = share(float(trained.counts.by_class("accuracy")[first]))
    return (
        f"of class {names[first]} only {share(float(recall[first]))} of {where} are right, "
        f"of its training samples {learned}, averaged over classes {share(overall)}{mostly}"
        f"{others}; look at its samples and labels, or give it more weight"
    )


@dataclass(frozen=True)
class _Gap:
    """Test data beside the training data; every class counts alike, whatever its share of either.

    Attributes
    ----------
    name
        What to call the test data.
    recall, test_recall
        Mean recall of the classes that both have, on training and on test data.
    error
        Standard error of the latter.
    spread, test_spread
        tr Σ_W / tr Σ_B of each.
    """

    name: str
    recall: float
    test_recall: float
    error: float
    spread: float
    test_spread: float

    @classmethod
    def between(cls, name: str, train: CollapseState, test: CollapseState) -> _Gap:
        first, second = (state.counts.by_class("accuracy").cpu() for state in (train, test))
        both = ~(first.isnan() | second.isnan())
        own, theirs = (float(recall[both].mean()) for recall in (first, second))
        n = test.moments.counts.cpu()[both]
        rate = (second[both] * n + 1) / (n + 2)  # of Laplace: one sample is no certainty
        error = float((rate * (1 - rate) / n).sum().sqrt()) / max(len(n), 1)
        return cls(name, own, theirs, error, _spread(train.moments), _spread(test.moments))

    @property
    def gap(self) -> float:
        return self.recall - self.test_recall

    @property
    def wide(self) -> bool:
        return self.gap >= max(GAP, ERRORS * self.error)

    @property
    def recalls(self) -> str:
        return (
            f"accuracy, averaged over classes, is {share(self.recall)} on training data and "
            f"{share(self.test_recall)} on {self.name}"
        )


def _worst_gap(situation: Situation) -> _Gap | None:
    """Return the test data furthest below the training data."""
    train, tests = situation.measured.train.state, situation.tests.items()
    gaps = [_Gap.between(called(part), train, split.state) for part, split in tests]
    return max((g for g in gaps if not math.isnan(g.gap)), key=lambda g: g.gap, default=None)


def _spread(moments: ClassMoments) -> float:
    two = int(moments.present.sum()) >= 2
    return nc1_trace_ratio(moments, within="balanced") if two else math.nan


def _accuracy_of(state: CollapseState, classes: Tensor) -> float:
    """Return the share of right samples of some classes; NaN without logits."""
    counts, recall = state.moments.counts * classes, state.counts.by_class("accuracy")
    return float((recall.nan_to_num() * counts).sum() / counts.sum())


def _taken_for(state: CollapseState, label: int) -> int | None:
    """Return the class that the wrong samples of a class are mostly decided as, if it is kept."""
    labels, decided = state.labels, state.decided
    if len(decided) != len(labels):
        return None
    wrong = decided[(labels == label) & (decided != label) & (decided >= 0)]
    return int(torch.bincount(wrong).argmax()) if len(wrong) else None

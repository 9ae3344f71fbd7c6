"""Alarms about test data: it does not follow, or a class of it is lost."""

from __future__ import annotations

import math

import torch

from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.runs.alarms.situation import Situation

# Rules of thumb of this library, not thresholds of theory.
COLLAPSED = 0.1  # tr Sw / tr Sb of training features
GAP = 0.1  # of accuracies
LOW_RECALL = 0.5  # of a class on test data ...
RECALL_GAP = 0.25  # ... and so far below that of all classes
LEARNED = 0.9  # of the training samples: before, every class may still be learned
ENOUGH = 5  # test samples of a class, to say anything about it


def overfitting(situation: Situation) -> str | None:
    """Warn where test accuracy stays far below training accuracy before collapse sets in."""
    values = situation.measured
    gap = values.get("accuracy", math.nan) - values.get("test_accuracy", math.nan)
    if not gap >= GAP or values["nc1_trace_ratio"] <= COLLAPSED:
        return None
    return (
        f"overfitting: accuracy is {values['accuracy']:.1%} on training data and "
        f"{values['test_accuracy']:.1%} on test data; try more data, augmentation or weight decay"
    )


def no_generalization(situation: Situation) -> str | None:
    """Warn where training features collapse and test data does not follow."""
    values = situation.measured
    train, test = values["nc1_trace_ratio"], values.get("test_nc1_trace_ratio", math.nan)
    gap = values["accuracy"] - values.get("test_accuracy", math.nan)
    if not train <= COLLAPSED or not (test >= 1 or gap >= GAP):
        return None
    return (
        f"collapse without generalisation: the spread within classes is {train:.2g} of that "
        f"between them on training data, but {test:.2g} on test data, and accuracy "
        f"{values['accuracy']:.1%} there, but {values['test_accuracy']:.1%} here; try more data, "
        "augmentation or weight decay, not longer training"
    )


def low_recall(situation: Situation) -> str | None:
    """Name the class of which most test samples are wrong, and what they are taken for."""
    if situation.measured.test is None:
        return None
    state = situation.measured.test.state
    recall = state.per_class().get("accuracy")
    if recall is None:
        return None
    counts, overall = state.moments.counts, state.accuracy
    if not situation.measured.get("accuracy", math.nan) >= LEARNED:
        return None
    low = (recall < LOW_RECALL) & (recall < overall - RECALL_GAP) & (counts >= ENOUGH)
    worst = torch.where(low, recall, math.inf).argsort(stable=True)[: int(low.sum())].tolist()
    if not worst:
        return None
    first, names = worst[0], situation.class_names
    others = f" (also low: {situation.listed(worst[1:], 5)})" if len(worst) > 1 else ""
    taken = _taken_for(state, first)
    mostly = "" if taken is None else f", mostly taken for {names[taken]}"
    return (
        f"of class {names[first]} only {float(recall[first]):.1%} of the test samples are right, "
        f"of all classes {overall:.1%}{mostly}{others}; look at its samples and labels, or give "
        "it more weight"
    )


def _taken_for(state: CollapseState, label: int) -> int | None:
    """Return the class that the wrong samples of a class are mostly decided as, if it is kept."""
    labels, decided = state.labels, state.decided
    if len(decided) != len(labels):
        return None
    wrong = decided[(labels == label) & (decided != label) & (decided >= 0)]
    return int(torch.bincount(wrong).argmax()) if len(wrong) else None

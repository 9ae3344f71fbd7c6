"""Alarms about test data: it does not follow, or a class of it is lost."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.runs.alarms.situation import LEARNED, Situation, called
from neuralcollapse.wording import share

# Rules of thumb of this library, not thresholds of theory.
COLLAPSED = 0.1  # tr Σ_W / tr Σ_B of training features
GAP = 0.1  # of accuracies
LOW_RECALL = 0.5  # of a class on test data ...
RECALL_GAP = 0.25  # ... and so far below that of all classes
ENOUGH = 5  # test samples of a class, to say anything about it


def overfitting(situation: Situation) -> str | None:
    """Warn where test accuracy stays far below training accuracy before collapse sets in."""
    values, worst = situation.measured, _worst_gap(situation)
    if worst is None or values["nc1_trace_ratio"] <= COLLAPSED:
        return None
    name, test, gap = worst
    if not gap >= GAP:
        return None
    return (
        f"overfitting: accuracy is {share(values['accuracy'])} on training data and "
        f"{share(test['accuracy'])} on {name}; try more data, augmentation or weight decay"
    )


def no_generalization(situation: Situation) -> str | None:
    """Warn where training features collapse and test data does not follow."""
    values, worst = situation.measured, _worst_gap(situation)
    if worst is None or not values["nc1_trace_ratio"] <= COLLAPSED:
        return None
    name, test, gap = worst
    spread = test["nc1_trace_ratio"]
    if not (spread >= 1 or gap >= GAP):
        return None
    own = values["nc1_trace_ratio"]
    joined = "and" if spread <= own else "but"
    return (
        f"collapse without generalisation: the within-class variability is {own:.2g} of that "
        f"between classes on training data, {joined} {spread:.2g} on {name}; "
        f"accuracy is {share(values['accuracy'])} on training data and "
        f"{share(test['accuracy'])} on {name}; try more data, augmentation or weight decay, not "
        "longer training"
    )


def low_recall(situation: Situation) -> str | None:
    """Name the class of which most test samples are wrong, and what they are taken for."""
    report = situation.measured
    tests = report.others if report.test is None else {"test": report.test, **report.others}
    for part, split in tests.items():
        found = _low_recall(situation, called(part), split.state)
        if found is not None:
            return found
    return None


def _low_recall(situation: Situation, name: str, state: CollapseState) -> str | None:
    recall, counts = state.per_class().get("accuracy"), state.moments.counts
    if recall is None:
        return None
    overall = state.accuracy
    low = (recall < LOW_RECALL) & (recall < overall - RECALL_GAP) & (counts >= ENOUGH)
    worst = torch.where(low, recall, math.inf).argsort(stable=True)[: int(low.sum())].tolist()
    if not worst or not _accuracy_of(situation.measured.train.state, ~low) >= LEARNED:
        return None
    first, names = worst[0], situation.class_names
    others = f" (also low: {situation.listed(worst[1:], 5)})" if len(worst) > 1 else ""
    taken = _taken_for(state, first)
    mostly = "" if taken is None else f", mostly taken for {names[taken]}"
    where = "the test samples" if name == "test data" else f"the samples of {name}"
    return (
        f"of class {names[first]} only {share(float(recall[first]))} of {where} are right, "
        f"of all classes {share(overall)}{mostly}{others}; look at its samples and labels, or give "
        "it more weight"
    )


def _worst_gap(situation: Situation) -> tuple[str, dict[str, float], float] | None:
    """Return the test data furthest below the training data, its values, and the gap."""
    values, found = situation.measured, []
    for part in ("test", *values.others):
        tested = {n: values.get(f"{part}_{n}", math.nan) for n in ("accuracy", "nc1_trace_ratio")}
        gap = values.get("accuracy", math.nan) - tested["accuracy"]
        if not math.isnan(gap):
            found.append((called(part), tested, gap))
    return max(found, key=lambda each: each[2], default=None)


def _accuracy_of(state: CollapseState, classes: Tensor) -> float:
    """Return the share of right samples of some classes."""
    counts, recall = state.moments.counts * classes, state.per_class().get("accuracy")
    if recall is None or not bool(counts.any()):
        return math.nan
    return float((recall.nan_to_num() * counts).sum() / counts.sum())


def _taken_for(state: CollapseState, label: int) -> int | None:
    """Return the class that the wrong samples of a class are mostly decided as, if it is kept."""
    labels, decided = state.labels, state.decided
    if len(decided) != len(labels):
        return None
    wrong = decided[(labels == label) & (decided != label) & (decided >= 0)]
    return int(torch.bincount(wrong).argmax()) if len(wrong) else None

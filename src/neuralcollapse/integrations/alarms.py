"""Alarms: states of a training run that its loss does not show, in plain words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.metrics.equiangularity import centered_rows
from neuralcollapse.metrics.ranks import numerical_rank
from neuralcollapse.moments.class_moments import ClassMoments

# Rules of thumb of this library, not thresholds of theory.
MINORITY = 5  # a class with a fifth of the largest class's samples, or fewer
MERGED = 0.9  # mean cosine of the head's rows of minority classes
LATE = 0.8  # of the epochs
COLLAPSED = 0.1  # tr Sw / tr Sb of training features
GAP = 0.1  # of accuracies
RANK_LOST = 0.5  # of the highest rank so far


class CollapseWarning(UserWarning):
    """A training run is in a state that collapse makes visible."""


@dataclass(frozen=True)
class Alarm:
    """One such state.

    Attributes
    ----------
    kind
        A key of `ALARMS`.
    message
        What is wrong, in plain words.
    """

    kind: str
    message: str


@dataclass(frozen=True, eq=False)
class Situation:
    """All that an alarm looks at.

    Attributes
    ----------
    measured
        The measurement of this epoch.
    records
        Those of earlier epochs.
    class_names
        One a class.
    epoch, last
        Number of this epoch and, if known, of the last.
    """

    measured: CollapseReport
    records: Sequence[Mapping[str, object]]
    class_names: Sequence[str]
    epoch: int
    last: int | None = None


def absent_class(situation: Situation) -> str | None:
    """Warn of classes without a training sample."""
    missing = (~situation.measured.train.moments.present).nonzero().flatten().tolist()
    if not missing:
        return None
    names = _listed([situation.class_names[k] for k in missing])
    return f"no training sample of class {names}: no metric counts it"


def minority_cosine(weight: Tensor, counts: Tensor) -> float:
    """Return the mean cosine between the head's rows of minority classes, about their mean row.

    Parameters
    ----------
    weight
        (K, d) head.
    counts
        (K,) training samples of each class; those of at most a fifth of the largest are minority.

    Returns
    -------
    float
        In [-1, 1]; 1 where the minority classes share one row; NaN with fewer than two of them.

    References
    ----------
    Fang et al. 2021, "Minority collapse in imbalanced training".

    Examples
    --------
    >>> weight = torch.tensor([[2.0, 0.0], [-1.0, 0.1], [-1.0, -0.1]])
    >>> round(minority_cosine(weight, torch.tensor([100, 5, 5])), 3)
    0.98
    """
    minority = (counts > 0) & (counts * MINORITY <= counts.max())
    if int(minority.sum()) < 2:
        return math.nan
    rows = torch.nn.functional.normalize(centered_rows(weight)[minority])
    cosines = (rows @ rows.T)[tuple(torch.triu_indices(len(rows), len(rows), 1))]
    return float(cosines.mean())


def minority_collapse(situation: Situation) -> str | None:
    """Warn where the head no longer tells the minority classes from each other."""
    moments = situation.measured.train.moments
    weight = situation.measured.weight
    cosine = math.nan if weight is None else minority_cosine(weight, moments.counts)
    if not cosine >= MERGED:
        return None
    return (
        f"minority collapse: the head's rows of the classes with few samples point the same way "
        f"(mean cosine {cosine:.3f}), so it hardly tells them from each other; "
        "oversample these classes or weight their loss"
    )


def negative_margins(situation: Situation) -> str | None:
    """Warn late in training where training samples are still wrong."""
    values, last = situation.measured, situation.last
    late = last is not None and situation.epoch >= LATE * last
    if not late or not values.get("margin_min", math.nan) <= 0:
        return None
    return (
        f"{1 - values['accuracy']:.2%} of the training samples are still wrong at epoch "
        f"{situation.epoch} of {last} (least margin {values['margin_min']:.3g}): "
        "the phase that collapse is about begins when none is; train longer or check these labels"
    )


def no_generalization(situation: Situation) -> str | None:
    """Warn where training features collapse and validation data does not follow."""
    values = situation.measured
    train, test = values["nc1_trace_ratio"], values.get("test_nc1_trace_ratio", math.nan)
    gap = values["accuracy"] - values.get("test_accuracy", math.nan)
    if not train <= COLLAPSED or not (test >= 1 or gap >= GAP):
        return None
    return (
        f"collapse without generalisation: the spread within classes is {train:.2g} of that "
        f"between them on training data, but {test:.2g} on validation data, and accuracy "
        f"{values['accuracy']:.1%} there, but {values['test_accuracy']:.1%} here"
    )


def means_rank(moments: ClassMoments) -> float:
    """Return how many directions the class means fill, K - 1 for a simplex ETF.

    Parameters
    ----------
    moments
        Moments of the training features.

    Examples
    --------
    >>> moments = ClassMoments(3, 2).update(torch.eye(3)[:, :2], [0, 1, 2])
    >>> round(means_rank(moments), 6)  # singular values 1 and 1 / sqrt 3
    1.866025
    """
    singular_values = torch.linalg.svdvals(moments.centered_means())
    return numerical_rank(singular_values) if bool(singular_values.any()) else 0.0


def loss_of_rank(situation: Situation) -> str | None:
    """Warn where class means fill far fewer directions than they did and could."""
    moments = situation.measured.train.moments
    rank = means_rank(moments)
    earlier = [float(str(record["means_rank"])) for record in situation.records]
    highest = max((value for value in earlier if math.isfinite(value)), default=math.nan)
    possible = min(moments.dim, int(moments.present.sum()) - 1)
    if not rank <= RANK_LOST * highest or not rank <= RANK_LOST * possible:
        return None
    return (
        f"loss of rank: the class means fill {rank:.1f} directions, {highest:.1f} earlier and at "
        f"most {possible}: classes are merging; lower weight decay or learning rate"
    )


ALARMS: dict[str, Callable[[Situation], str | None]] = {
    function.__name__: function
    for function in (
        absent_class,
        minority_collapse,
        negative_margins,
        no_generalization,
        loss_of_rank,
    )
}


def find_alarms(situation: Situation) -> list[Alarm]:
    """Return the alarms of a situation.

    Parameters
    ----------
    situation
        The measurement of an epoch, and what came before.
    """
    messages = {kind: check(situation) for kind, check in ALARMS.items()}
    return [Alarm(kind, message) for kind, message in messages.items() if message is not None]


def _listed(names: Sequence[str], limit: int = 10) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more

"""An alarm about the mean row of the head, which weight decay alone moves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from neuralcollapse.metrics.head_mean import head_mean
from neuralcollapse.runs.alarms.situation import Situation
from neuralcollapse.wording import at_most, number, share

# Rules of thumb: more than so many times what the law leaves, and no less than this share, since
# gradients in half precision are off.
TIMES, LEAST = 3, 0.1
ROUNDING = 1e-6  # of the head's squared norm, below which its mean row is none


def head_mean_kept(situation: Situation) -> str | None:
    r"""Warn where weight decay should have taken the mean row of the head away, and has not.

    .. math:: \|m_t\|^2 \le e^{-2 \sum \eta \lambda}\, \|m_0\|^2

    by SGD on a softmax loss, with momentum or without: looked at where the sum over the steps since
    the first measurement is above 1. Without decay theory keeps the mean row, and so does this.
    """
    weight = situation.measured.weight
    settings = situation.optimizer or {}
    now = {"step": situation.step, "optimizer": settings}
    known = [each for each in (*situation.records, now) if _decays(each)]
    if weight is None or len(known) < 2 or known[-1] is not now:
        return None
    left, first = head_mean(weight), known[0]
    start = float(first.get("head_mean", math.nan))
    spent = sum(_strength(earlier, later) for earlier, later in pairwise(known))
    there = left > ROUNDING * float(weight.double().square().sum())
    lawful = math.exp(-2 * spent)
    if not (spent > 1 and there and left > max(TIMES * lawful, LEAST) * start):
        return None
    return (
        f"the mean row of the head has {share(left / start)} of the squared length that it had at "
        f"epoch {first['epoch']:g}, of which weight decay {number(settings['weight_decay'])} with "
        f"SGD leaves {at_most(lawful)} on a softmax loss, whose gradient never moves "
        f"it: {_reason(settings)}"
    )


def _decays(record: Mapping[str, Any]) -> bool:
    settings = record.get("optimizer") or {}
    known = isinstance(record.get("step"), (int, float)) and "lr" in settings
    plain = not settings.get("dampening", 0.0)  # which slows the decay
    return known and plain and settings.get("weight_decay", 0.0) > 0


def _strength(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> float:
    """Return the least that the steps between two records can have decayed."""
    both = earlier["optimizer"], later["optimizer"]
    lr, decay = (min(settings[key] for settings in both) for key in ("lr", "weight_decay"))
    return lr * decay * (later["step"] - earlier["step"])


def _reason(settings: Mapping[str, Any]) -> str:
    if settings["name"] == "SGD":
        return "the loss is none, or the rows have another use, such as those of tied embeddings"
    return f"{settings['name']} scales each entry of the gradient by itself, which can move it"

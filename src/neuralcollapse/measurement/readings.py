"""What each value means, in plain words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

NC1 = "NC1 class spread"
NC2 = "NC2 simplex ETF"
NC3 = "NC3 self-duality"
NC4 = "NC4 nearest mean"
DECISIONS = "Decisions"


@dataclass(frozen=True)
class Reading:
    """How to read one metric.

    Attributes
    ----------
    group
        The phenomenon it belongs to.
    title
        What is measured, as a formula or in a few words.
    collapsed
        Its value at perfect collapse, as text.
    say
        The sentence for a value; "collapsed", "on the way" and "not collapsed" are rules of thumb
        of this library, not thresholds of theory.

    Examples
    --------
    >>> READINGS["nc1_trace_ratio"].say(1e-5)
    'collapsed'
    >>> READINGS["accuracy"].say(0.98)
    '2.00% wrong'
    """

    group: str
    title: str
    collapsed: str
    say: Callable[[float], str]


def _distance(near: float, far: float, collapsed: float = 0.0) -> Callable[[float], str]:
    """Grade the distance from the collapsed value."""

    def say(value: float) -> str:
        if math.isnan(value):
            return "undefined"
        distance = abs(value - collapsed)
        if distance <= near:
            return "collapsed"
        return "on the way" if distance < far else "not collapsed"

    return say


def _share(value: float) -> str:
    if math.isnan(value):
        return "undefined"
    return "all right" if value == 1 else f"{1 - value:.2%} wrong"


def _margin(value: float) -> str:
    if math.isnan(value):
        return "undefined"
    return "every sample is right" if value > 0 else "a sample is wrong"


READINGS: dict[str, Reading] = {
    "nc1_pinv": Reading(NC1, "tr(Sw Sb^+)/K", "0", _distance(1e-3, 0.1)),
    "nc1_trace_ratio": Reading(NC1, "tr Sw / tr Sb", "0", _distance(1e-2, 1)),
    "cdnv": Reading(NC1, "class-distance normalised variance", "0", _distance(1e-2, 0.5)),
    "vci": Reading(NC1, "variability collapse index", "0", _distance(1e-2, 0.3)),
    "nc2_equinorm": Reading(NC2, "means: spread of lengths", "0", _distance(0.05, 0.3)),
    "nc2_equiangular": Reading(NC2, "means: |cos + 1/(K-1)|", "0", _distance(0.05, 0.2)),
    "nc2_etf": Reading(NC2, "means: distance from an ETF", "0", _distance(0.1, 0.5)),
    "nc2_equinorm_head": Reading(NC2, "head: spread of lengths", "0", _distance(0.05, 0.3)),
    "nc2_equiangular_head": Reading(NC2, "head: |cos + 1/(K-1)|", "0", _distance(0.05, 0.2)),
    "nc2_etf_head": Reading(NC2, "head: distance from an ETF", "0", _distance(0.1, 0.5)),
    "nc3_self_duality": Reading(NC3, "head against means", "0", _distance(0.1, 0.7)),
    "nc3_product": Reading(NC3, "logits of means against an ETF", "0", _distance(0.1, 0.5)),
    "nc4_agreement": Reading(NC4, "head agrees with nearest mean", "1", _distance(1e-3, 0.05, 1)),
    "ncc_accuracy": Reading(NC4, "accuracy of the nearest mean", "1", _share),
    "accuracy": Reading(DECISIONS, "accuracy", "1", _share),
    "margin_min": Reading(DECISIONS, "least margin, in logits", "grows", _margin),
    "margin_normalized": Reading(DECISIONS, "least margin / its scale", "K/(K-1)", _margin),
    "margin_collapse_ratio": Reading(
        DECISIONS, "that, as a share of K/(K-1)", "1", _distance(0.05, 0.5, 1)
    ),
}

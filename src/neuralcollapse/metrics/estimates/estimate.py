"""Estimate: a value corrected for the bias of few samples, with an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from neuralcollapse.metrics.catalogue import CATALOGUE
from neuralcollapse.metrics.estimates.class_sample import ClassSample
from neuralcollapse.metrics.estimates.corrected import (
    APART_FOR_INTERVAL,
    LEAST_APART,
    PROBES,
    Corrected,
)
from neuralcollapse.metrics.estimates.jackknife import CONFIDENCE, interval, standard_error
from neuralcollapse.metrics.estimates.sample_groups import FEWEST, leave_out
from neuralcollapse.metrics.estimates.second_look import MOST_PAIRED, scatter_changes
from neuralcollapse.wording import at_most

if TYPE_CHECKING:
    from neuralcollapse.metrics.state import CollapseState

NO_GROUPS = "no groups of samples (more than 256 MiB, or intervals=False): pass intervals=True"
NOT_AGAIN = "the features were not looked at again, which costs much: pass intervals=True"
MANY_PAIRS = (
    f"more than {MOST_PAIRED:,} classes, for which all pairs would be formed anew for each group"
)
FEW_FREE = (
    "too few samples, for tails as long as theirs, to tell their scatter and each direction of the "
    "means from noise"
)
ALWAYS = "two vectors are always an ETF"
TOO_NEAR = f"class means are less than {APART_FOR_INTERVAL:g} standard errors apart"
NO_DISTANCE = f"class means are less than {LEAST_APART:g} standard errors apart"
TRAINED_ON = "the network was fitted to these samples, for which the share is exact"


@dataclass(frozen=True)
class Estimate:
    """What samples tell about the distribution they come from.

    Attributes
    ----------
    plain
        The value of the samples themselves: exact for them.
    corrected
        The value without the bias of few samples per class; NaN if it is withheld.
    lower, upper
        Ends of a 95 % confidence interval for the value of the distribution; NaN without one.
    reason
        Why something is missing; empty if nothing is.
    words
        What is known about a minimum, which has no interval.
    doubt
        Why the corrected value may be far off; empty if there is no reason.
    replicates
        The corrected value without each group of samples, on its scale; empty without groups.
    corrected_by
        Its scale; None for a share.
    scaled
        The corrected value on that scale.
    """

    plain: float
    corrected: float = math.nan
    lower: float = math.nan
    upper: float = math.nan
    reason: str = ""
    words: str = ""
    doubt: str = ""
    replicates: tuple[float, ...] = field(default=(), repr=False)
    corrected_by: Corrected | None = field(default=None, repr=False)
    scaled: float = field(default=math.nan, repr=False)

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.lower)

    @property
    def lacks(self) -> str:
        """Why there is no interval where a reader would expect one; empty elsewhere."""
        expected = self.reason != TRAINED_ON and not self.words and not self.has_interval
        return self.reason if expected else ""

    def numbers(self) -> dict[str, float]:
        """Return the corrected value and the ends of the interval, if they are finite."""
        values = {"corrected": self.corrected, "lower": self.lower, "upper": self.upper}
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers and words that are not empty, fit for JSON."""
        words = {"reason": self.reason, "words": self.words, "doubt": self.doubt}
        return self.numbers() | {name: text for name, text in words.items() if text}


def estimates(
    state: CollapseState,
    values: Mapping[str, float],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    fresh: bool = False,
) -> dict[str, Estimate]:
    """Return corrected values and intervals of the metrics of a state.

    Parameters
    ----------
    state
        Settled, of samples that are independent draws.
    values
        Metric name to plain value.
    weight, bias
        (K, d) and (K,) of the head, or None.
    fresh
        Whether the network was not fitted to these samples: only then do they tell how it decides
        on new ones.

    Returns
    -------
    dict
        Estimates by the name of the metric, for those whose noise is understood.
    """
    rows = [row for name, row in CATALOGUE.items() if name in values]
    found = {}
    sample = replicates = None
    moments, reason = state.moments, _without_sample(state)
    if not reason:
        measured = state.measured(weight, bias)
        vectors = None if weight is None else measured.present_head.rows
        sample = ClassSample.of(moments, vectors)
        reason = _without_interval(state)
        if not reason:
            replicates = [sample.without(left) for left in leave_out(moments)]
    for row in rows:
        value = values[row.name]
        if row.corrected is not None and sample is None:
            found[row.name] = Estimate(value, reason=reason)
        elif row.corrected is not None and row.group.startswith("NC2") and len(sample or ()) == 2:
            found[row.name] = Estimate(value, reason=ALWAYS)
        elif row.corrected is not None:
            found[row.name] = _estimate(
                value, row.corrected, sample, replicates, reason, state.looked
            )
    return found | _decided(state, values, fresh)


def share_interval(hits: int, total: int) -> tuple[float, float]:
    r"""Return the two-sided 95 % interval of Clopper and Pearson for a share.

    .. math:: \bigl[I^{-1}_{\alpha/2}(k, n - k + 1),\; I^{-1}_{1-\alpha/2}(k + 1, n - k)\bigr]

    Examples
    --------
    >>> low, high = share_interval(0, 10)
    >>> low, round(high, 4)
    (0.0, 0.3085)
    """
    from scipy.special import betainccinv, betaincinv

    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(hits, total - hits + 1, tail)) if hits else 0.0
    high = float(betainccinv(hits + 1, total - hits, tail)) if hits < total else 1.0
    return low, high


def _estimate(
    plain: float, by: Corrected, sample: ClassSample | None,
    replicates: list[ClassSample] | None, reason: str, looked: Tensor,
) -> Estimate:  # fmt: skip
    assert sample is not None
    if by.pairs and len(sample) > MOST_PAIRED:
        return Estimate(plain, reason=MANY_PAIRS, corrected_by=by)
    value = by.value(sample)
    if math.isnan(value):
        return Estimate(plain, reason="the correction is too large to trust", corrected_by=by)
    corrected, apart = by.metric(value), by.apart(sample)
    doubt = NO_DISTANCE if apart < LEAST_APART else ""
    if replicates is None or apart < APART_FOR_INTERVAL:
        why = reason or TOO_NEAR
        return Estimate(plain, corrected, reason=why, doubt=doubt, corrected_by=by)
    changes = [0.0] * len(replicates)
    if by.probe is not None:
        rows, sums = by.probe(sample), looked[PROBES.index(by.probe)]
        if rows is None or not bool(sums.isfinite().all()):
            why = FEW_FREE if rows is None else NOT_AGAIN
            return Estimate(plain, corrected, reason=why, corrected_by=by)
        changes = scatter_changes(rows, sample, replicates, sums)
    parts = tuple(map(by.value, replicates, changes))
    if not all(map(math.isfinite, (value, *parts))):
        return Estimate(plain, corrected, reason="it is zero or lost in noise", corrected_by=by)
    # A square below 0 is one of 0 with its noise: the interval says how large it may be.
    middle = max(value, 0.0) if by.scale == "square" else value
    low, high = map(by.metric, interval(middle, standard_error(parts), len(parts)))
    return Estimate(plain, corrected, low, high, replicates=parts, corrected_by=by, scaled=value)


def _decided(state: CollapseState, plain: Mapping[str, float], fresh: bool) -> dict[str, Estimate]:
    """Return shares of decisions, and what is known about the minimum margin."""
    found = {}
    for name in ("nc4_agreement", "ncc_accuracy", "accuracy"):
        hits, total = state.counts.hits(name)
        if name not in plain or not total:
            continue
        if fresh:
            found[name] = _share(plain[name], hits, total)
        elif name == "ncc_accuracy" and state.left_out[1]:
            found[name] = _share(plain[name], *state.left_out.tolist())
        else:
            found[name] = Estimate(plain[name], reason=TRAINED_ON)
    judged = state.counts.judged
    if fresh and judged and "margin_min" in plain:
        below = at_most(1 - (1 - CONFIDENCE) ** (1 / judged))
        said = f"a new sample has a smaller margin with probability at most {below}"
        found["margin_min"] = Estimate(
            plain["margin_min"], reason="a minimum has no interval", words=said
        )
    return found


def _share(plain: float, hits: int, total: int) -> Estimate:
    return Estimate(plain, hits / total, *share_interval(hits, total))


def _without_sample(state: CollapseState) -> str:
    moments = state.moments
    if not moments.scatter:
        return "the within-class scatter was not kept"
    if int(moments.num_samples) - int(moments.present.sum()) < 2:
        return "one sample per class tells nothing about its spread"
    if not float(moments.trace_variances.nansum()) > 0:
        return "there is no spread"
    return ""


def _without_interval(state: CollapseState) -> str:
    counts = state.moments.counts[state.moments.present]
    if int(counts.min()) < FEWEST:
        return f"a class has fewer than {FEWEST} samples"
    return "" if state.moments.groups else NO_GROUPS

"""The values of the metrics, from moments and a head, with one sweep over pairs of classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from neuralcollapse.metrics.catalogue import CATALOGUE, needed
from neuralcollapse.metrics.measured import Measured
from neuralcollapse.metrics.metric import Metric
from neuralcollapse.moments.checked_moments import checked_moments
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.validation import as_matrix, as_tensor


def summarize(
    moments: ClassMoments,
    weight: Any = None,
    bias: Any = None,
    margin_min: float | None = None,
) -> dict[str, float]:
    """Return every metric of collapse that needs no second pass over the samples.

    Each is the default variant of the function of that name; pairs of class means are visited
    once for all of them.

    Parameters
    ----------
    moments
        Moments of the features that enter the head, of at least two classes.
    weight, bias
        (K, d) and (K,) of the head.
    margin_min
        p_min, the minimum margin of the samples.

    Returns
    -------
    dict of float
        Always ``nc1_trace_ratio``, ``cdnv``, ``nc2_equinorm``, ``nc2_equiangular``, ``nc2_etf``;
        with a scatter, ``nc1_pinv`` and ``vci``; with a head, ``nc2_equinorm_head``,
        ``nc2_equiangular_head``, ``nc2_etf_head`` of all its rows, and ``nc3_self_duality``,
        ``nc3_product`` over the classes that have samples; with a head and a margin,
        ``margin_normalized`` and ``margin_collapse_ratio``. At collapse the last two are K/(K-1)
        and 1, all others 0. NaN and infinity are as the function of the metric documents, for
        example for equal class means.

    Raises
    ------
    NeuralCollapseError
        If fewer than two classes have samples, or the head has another shape.

    Examples
    --------
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.geometry import simplex_etf
    >>> from neuralcollapse.metrics import summarize
    >>> moments = ClassMoments(4, 3).update(simplex_etf(4, 3), [0, 1, 2, 3])
    >>> values = summarize(moments, weight=2 * simplex_etf(4, 3, "axis"))
    >>> {name: round(abs(values[name]), 6) for name in ("nc1_pinv", "nc2_etf", "nc2_etf_head")}
    {'nc1_pinv': 0.0, 'nc2_etf': 0.0, 'nc2_etf_head': 0.0}
    """
    shares = {} if margin_min is None else {"margin_min": margin_min}
    head = None if weight is None else as_matrix("weight", weight)
    offset = None if bias is None else as_tensor("bias", bias)
    values = values_of(Measured(checked_moments(moments), head, offset, shares))
    values.pop("margin_min", None)
    return values


def values_of(measured: Measured, metrics: Iterable[Metric] | None = None) -> dict[str, float]:
    """Return the values of all metrics whose needs are met.

    Parameters
    ----------
    measured
        Moments, head and shares.
    metrics
        The metrics to compute, in order; if omitted, the whole catalogue except those of codes
        (K > d + 1), which solve a problem per class and are left to a report.
    """
    wanted = metrics
    if wanted is None:
        wanted = [row for row in CATALOGUE.values() if not {"code", "best_code"} & {*row.needs}]
    available = measured.available
    return {metric.name: metric.compute(measured) for metric in wanted if needed(metric, available)}

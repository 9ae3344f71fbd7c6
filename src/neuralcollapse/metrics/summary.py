"""The headline numbers of collapse, from moments and a head, with one sweep over the classes."""

from __future__ import annotations

from torch import Tensor

from neuralcollapse.metrics.class_distance import CDNVStatistic
from neuralcollapse.metrics.collapse_index import vci
from neuralcollapse.metrics.equiangularity import (
    EquiangularityStatistic,
    equiangularity,
    equinorm,
    etf_distance,
)
from neuralcollapse.metrics.head import checked_head
from neuralcollapse.metrics.margin_scale import margin_ceiling, margin_scale, normalized_margin
from neuralcollapse.metrics.pairs import sweep_pairs
from neuralcollapse.metrics.self_duality import product_duality, self_duality
from neuralcollapse.metrics.variability import nc1_pinv, nc1_trace_ratio
from neuralcollapse.moments.class_moments import ClassMoments

FEATURE_METRICS = (
    "nc1_pinv",
    "nc1_trace_ratio",
    "cdnv",
    "vci",
    "nc2_equinorm",
    "nc2_equiangular",
    "nc2_etf",
)
SCATTER_METRICS = ("nc1_pinv", "vci")  # those of them that need a scatter
HEAD_METRICS = (
    "nc2_equinorm_head",
    "nc2_equiangular_head",
    "nc2_etf_head",
    "nc3_self_duality",
    "nc3_product",
)


def summarize(
    moments: ClassMoments,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    margin_min: float | None = None,
) -> dict[str, float]:
    """Return every metric of collapse that needs no second look at the samples.

    Each is the default variant of the function of that name; pairs of class means are visited
    once for all of them.

    Parameters
    ----------
    moments
        Moments of the features that enter the head, of at least two classes.
    weight, bias
        (K, d) and (K,) of the head.
    margin_min
        p_min, the least margin of the samples.

    Returns
    -------
    dict of float
        Always ``nc1_trace_ratio``, ``cdnv``, ``nc2_equinorm``, ``nc2_equiangular``, ``nc2_etf``;
        with a scatter, ``nc1_pinv`` and ``vci``; with a head, ``nc2_equinorm_head``,
        ``nc2_equiangular_head``, ``nc2_etf_head`` of all its rows, and ``nc3_self_duality``,
        ``nc3_product`` over the classes that have samples; with a head and a margin,
        ``margin_normalized`` and ``margin_collapse_ratio``. Zero when collapsed, the last two
        K/(K-1) and 1. NaN or infinity stand where the function of the metric says so, such as for
        equal class means.

    Raises
    ------
    NeuralCollapseError
        If fewer than two classes have samples, or the head is of another shape.

    Examples
    --------
    >>> from neuralcollapse.geometry import simplex_etf
    >>> moments = ClassMoments(4, 3).update(simplex_etf(4, 3), [0, 1, 2, 3])
    >>> values = summarize(moments, weight=2 * simplex_etf(4, 3, "axis"))
    >>> {name: round(abs(values[name]), 6) for name in ("nc1_pinv", "nc2_etf", "nc2_etf_head")}
    {'nc1_pinv': 0.0, 'nc2_etf': 0.0, 'nc2_etf_head': 0.0}
    """
    values = {"nc1_pinv": nc1_pinv(moments)} if moments.scatter else {}
    values["nc1_trace_ratio"] = nc1_trace_ratio(moments)
    rows = moments.centered_means()
    distances, angles = CDNVStatistic(moments), EquiangularityStatistic(len(rows))
    sweep_pairs(rows, [distances, angles])
    values["cdnv"] = distances.values.mean
    if moments.scatter:
        values["vci"] = vci(moments)
    values["nc2_equinorm"] = equinorm(rows)
    values["nc2_equiangular"] = angles.absolute.mean
    values["nc2_etf"] = etf_distance(rows)
    if weight is None:
        return values
    head = checked_head(moments, weight)
    values["nc2_equinorm_head"] = equinorm(head)
    values["nc2_equiangular_head"] = equiangularity(head)
    values["nc2_etf_head"] = etf_distance(head)
    values["nc3_self_duality"] = self_duality(head[moments.present], rows)
    values["nc3_product"] = product_duality(head[moments.present], rows)
    if margin_min is not None:
        ratio = normalized_margin(margin_min, margin_scale(moments, head, bias))
        values["margin_normalized"] = ratio
        values["margin_collapse_ratio"] = ratio / margin_ceiling(len(rows))
    return values

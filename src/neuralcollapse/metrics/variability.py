"""NC1: how far the features of a class spread, relative to how far apart the classes are."""

from __future__ import annotations

from typing import Literal

from neuralcollapse.metrics.between import between_whitener, require_two_classes
from neuralcollapse.moments.class_moments import Center, ClassMoments, Weighting
from neuralcollapse.validation import check_choice


def nc1_pinv(
    moments: ClassMoments,
    within: Weighting = "pooled",
    between: Weighting = "balanced",
    center: Center = "class_mean",
    normalize: bool = True,
    per: Literal["class", "rank"] = "class",
) -> float:
    r"""Return the within-class scatter as the between-class scatter sees it (NC1).

    .. math:: \mathrm{tr}(\Sigma_W \Sigma_B^+) / K

    The pseudo-inverse uses the at most K-1 directions that the class means span, found from a Gram
    matrix, and never a cut-off among d eigenvalues: so no rounding noise is inverted and the value
    is never negative.

    Parameters
    ----------
    moments
        Moments with a scatter.
    within
        ``"pooled"``: every sample has the same weight; ``"balanced"``: every class has.
    between
        ``"balanced"``: 1/K for each class; ``"pooled"``: n_k/N.
    center
        What is subtracted from the class means: ``"class_mean"`` or ``"sample_mean"``.
    normalize
        Whether to divide the trace. Papyan's notebook and the separation fuzziness of He & Su do
        not.
    per
        The divisor. ``"class"``: K, the number of present classes, as in the papers; ``"rank"``:
        the rank of Sigma_B, usually K - 1, which makes the value a mean over directions of the
        ratio of within- to between-class variance.

    Returns
    -------
    float
        In [0, inf]; 0 when collapsed, inf (NaN if there is no spread either) when all class means
        are equal.

    Raises
    ------
    NeuralCollapseError
        If fewer than two classes have samples, the moments hold no such scatter, or an option is
        unknown.

    References
    ----------
    Papyan, Han & Donoho 2020; Tirer et al. 2023, Section 2 (NC1).

    Examples
    --------
    Means at -2 and 2, so Sigma_B = 4; spread 1 in each class, so Sigma_W = 1.

    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.metrics import nc1_pinv
    >>> features = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    >>> nc1_pinv(ClassMoments(2, 1).update(features, [0, 0, 1, 1]))
    0.125000
    """
    check_choice("per", per, ("class", "rank"))
    whitener = between_whitener(moments, between, center)
    if not len(whitener):
        return _ratio(float(moments.within_scatter(within).trace()), 0.0)
    value = max(moments.within_trace(whitener, within), 0.0)  # round-off may be below
    parts = int(moments.present.sum()) if per == "class" else len(whitener)
    return value / (parts if normalize else 1)


def nc1_trace_ratio(
    moments: ClassMoments,
    within: Weighting = "pooled",
    between: Weighting = "balanced",
    center: Center = "class_mean",
    denominator: Literal["between", "total"] = "between",
) -> float:
    r"""Return the ratio of traces, which needs no d x d scatter (Tirer's NC1~).

    .. math:: \mathrm{tr}\,\Sigma_W / \mathrm{tr}\,\Sigma_B

    Parameters
    ----------
    moments
        Moments, also with ``scatter=False``.
    within, between, center
        As in `nc1_pinv`; here no variant needs a scatter.
    denominator
        ``"between"`` or ``"total"`` = within + between, which keeps the ratio below 1.

    Returns
    -------
    float
        In [0, inf], or [0, 1] over the total; 0 when collapsed, inf (NaN if there is no spread
        either) when all class means are equal.

    Raises
    ------
    NeuralCollapseError
        If fewer than two classes have samples, or an option is unknown.

    References
    ----------
    Tirer et al. 2023, Section 3.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.metrics import nc1_trace_ratio
    >>> features = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    >>> round(nc1_trace_ratio(ClassMoments(2, 1).update(features, [0, 0, 1, 1])), 12)
    0.25
    """
    check_choice("denominator", denominator, ("between", "total"))
    require_two_classes(moments)
    weights = moments.class_weights(between)[moments.present]
    spread = float((moments.class_weights(within) * moments.trace_variances).nansum())
    apart = float(weights @ moments.centered_norms(center).square_())
    return _ratio(spread, apart + (spread if denominator == "total" else 0.0))


def separation_fuzziness(moments: ClassMoments) -> float:
    r"""Return the separation fuzziness of He & Su, whose logarithm falls linearly with depth.

    .. math:: D = \mathrm{tr}(SS_W \, SS_B^+)

    with both scatters weighted by n_k/N and taken about the sample mean.

    Parameters
    ----------
    moments
        Moments with a scatter.

    Returns
    -------
    float
        In [0, inf]; 0 when collapsed.

    References
    ----------
    He & Su 2023, "A law of data separation in deep learning".

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.metrics import separation_fuzziness
    >>> features = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    >>> separation_fuzziness(ClassMoments(2, 1).update(features, [0, 0, 1, 1]))
    0.250000
    """
    return nc1_pinv(moments, between="pooled", center="sample_mean", normalize=False)


def _ratio(numerator: float, denominator: float) -> float:
    if denominator > 0:
        return numerator / denominator
    return float("inf") if numerator > 0 else float("nan")

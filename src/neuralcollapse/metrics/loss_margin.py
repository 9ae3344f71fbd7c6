"""What a small cross-entropy implies about the minimum margin, and vice versa."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.margin_scale import margin_ceiling
from neuralcollapse.validation import (
    as_tensor,
    check_choice,
    check_shape,
    finite_matrix,
    integer_labels,
    positive,
    real_number,
    whole_number,
)


def cross_entropy_losses(logits: Any, labels: Any) -> Float[Tensor, " n"]:
    r"""Return the cross-entropy of each sample, exact however small it is.

    .. math:: \ell = \log\Bigl(1 + \sum_{j \ne y} e^{-(s_y - s_j)}\Bigr)

    Computed from differences of scores: the usual log-softmax rounds losses below 1e-16 to 0.

    Parameters
    ----------
    logits
        (n, K) scores, K >= 2, finite.
    labels
        (n,) in 0..K-1.

    Returns
    -------
    Tensor of shape (n,), float64
        In nats, > 0 unless it underflows.

    Raises
    ------
    NonFiniteError
        If a logit is not finite.
    NeuralCollapseError
        If K < 2, or the labels do not fit.

    Examples
    --------
    >>> from neuralcollapse.metrics import cross_entropy_losses
    >>> cross_entropy_losses([[40.0, 0.0]], [0])
    tensor([4.2484e-18], dtype=torch.float64)
    """
    scores = finite_matrix("logits", logits)
    check_shape("logits", scores, ("n", "K >= 2"), "pass one column per class")
    true = integer_labels("labels", labels, len(scores), scores.shape[1]).to(scores.device)
    excess = scores - scores.gather(1, true[:, None])
    rivals = excess.scatter(1, true[:, None], float("-inf")).logsumexp(1)
    return torch.logaddexp(rivals, torch.zeros_like(rivals))


def margin_lower_bound(losses: Any, statistic: Literal["max", "sum"] = "max") -> float:
    r"""Return a lower bound on the minimum margin, given the cross-entropies.

    .. math:: p_{\min} \;\ge\; -\log(e^{L} - 1), \qquad
        L = \max_i \ell_i \quad\text{or}\quad L = \sum_i \ell_i

    because every sample has :math:`\ell \ge \log(1 + e^{-m})`. It is above zero
    exactly if L < log 2; then every sample is classified correctly. The largest loss gives the
    better bound; the sum is what training minimises.

    Parameters
    ----------
    losses
        (n,) cross-entropies of all samples, >= 0, see `cross_entropy_losses`.
    statistic
        ``"max"`` or ``"sum"``.

    Returns
    -------
    float
        In the units of the logits; inf if all losses are 0.

    Raises
    ------
    NeuralCollapseError
        If there is no loss, one is negative or not finite, or the statistic is unknown.

    Notes
    -----
    A correction to Gao et al. 2023, Theorem 4.1, as it is usually read: with the *mean* loss it is
    false, see `margin_lower_bound_of_mean`.

    Examples
    --------
    >>> from neuralcollapse.metrics import margin_lower_bound
    >>> round(margin_lower_bound([0.1, 0.2]), 4), round(margin_lower_bound([0.1, 0.2], "sum"), 4)
    (1.5078, 1.0502)
    """
    values = as_tensor("losses", losses).to(torch.float64)
    remedy = "pass the loss of each sample; a mean alone goes to margin_lower_bound_of_mean"
    check_shape("losses", values, ("n >= 1",), remedy)
    if not bool((torch.isfinite(values) & (values >= 0)).all()):
        got = f"from {float(values.min()):g} to {float(values.max()):g}"
        remedy = "pass cross-entropies in nats, unweighted and without label smoothing"
        raise NeuralCollapseError("losses", "finite numbers of at least 0", got, remedy)
    check_choice("statistic", statistic, ("max", "sum"), "the mean alone does not bound it")
    return _margin_of(float(values.max() if statistic == "max" else values.sum()))


def margin_lower_bound_of_mean(mean_loss: float, num_samples: int) -> float:
    r"""Return a lower bound on the minimum margin, given the mean cross-entropy.

    .. math:: p_{\min} \;\ge\; -\log(e^{N \bar\ell} - 1)

    The factor N, which makes the sum of the mean, cannot be left out: for scores (5, 0) three times
    and (0.2, 0) once the mean loss is 0.155, and the formula without N gives 1.79, while the
    minimum margin is 0.2.

    Parameters
    ----------
    mean_loss
        Mean cross-entropy of all samples, > 0.
    num_samples
        N >= 1.

    Returns
    -------
    float
        In the units of the logits.

    Raises
    ------
    NeuralCollapseError
        If an argument is out of range.

    References
    ----------
    Gao et al. 2023, Theorem 4.1, corrected.

    Examples
    --------
    >>> from neuralcollapse.metrics import margin_lower_bound_of_mean
    >>> round(margin_lower_bound_of_mean(0.1546, 4), 4)
    0.1555
    """
    return _margin_of(whole_number("num_samples", num_samples) * positive("mean_loss", mean_loss))


def mean_loss_floor(scale: float, num_classes: int) -> float:
    r"""Return the least mean cross-entropy of classes of equal size, at a scale of the logits.

    .. math:: \bar\ell \;\ge\; \log\bigl(1 + (K-1) e^{-\tau K / (K-1)}\bigr)

    Attained exactly at collapse (Jensen's inequality, twice, and the ceiling of the margin). So the
    cross-entropy goes to 0 only if tau goes to infinity.

    Parameters
    ----------
    scale
        tau >= 0, see `margin_scale`.
    num_classes
        K >= 2.

    Returns
    -------
    float
        In nats.

    Raises
    ------
    NeuralCollapseError
        If K < 2, or tau is below 0 or NaN.

    Notes
    -----
    Ours.

    Examples
    --------
    >>> from neuralcollapse.metrics import mean_loss_floor
    >>> round(mean_loss_floor(2.0, 2), 6)  # log(1 + exp(-4))
    0.01815
    """
    ceiling, scale = margin_ceiling(num_classes), float(real_number("scale", scale))
    if not scale >= 0:  # NaN is not
        raise NeuralCollapseError(
            "scale", "at least 0", str(scale), "pass what margin_scale returns"
        )
    return float(np.logaddexp(0.0, math.log(num_classes - 1) - scale * ceiling))


def normalized_margin_lower_bound(mean_loss: float, num_samples: int, scale: float) -> float:
    r"""Return a lower bound on the normalised margin, given the mean cross-entropy.

    .. math:: q = \frac{p_{\min}}{\tau} \;\ge\; -\frac{\log(e^{N \bar\ell} - 1)}{\tau}

    If the mean loss is within a factor 1 + k of `mean_loss_floor`, this is
    K/(K-1) - log(N (K-1) (1+k)) / tau - o(1/tau): the margin approaches its ceiling like 1/tau;
    only tau goes to infinity.

    Parameters
    ----------
    mean_loss, num_samples
        As in `margin_lower_bound_of_mean`.
    scale
        tau > 0, see `margin_scale`.

    Returns
    -------
    float
        A lower bound on q.

    Raises
    ------
    NeuralCollapseError
        If an argument is out of range.

    Notes
    -----
    Ours: the scale-free form of Gao et al. 2023, Theorem 4.1, as corrected.

    Examples
    --------
    >>> from neuralcollapse.metrics import normalized_margin_lower_bound
    >>> round(normalized_margin_lower_bound(0.01, 10, 4.0), 4)
    0.563
    """
    return margin_lower_bound_of_mean(mean_loss, num_samples) / positive("scale", scale)


def _margin_of(loss: float) -> float:
    """Return -log(expm1(loss)), which must not overflow for a large loss."""
    return math.inf if loss == 0 else -(loss + math.log(-math.expm1(-loss)))

"""Which pairs of classes carry the risk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from neuralcollapse.validation import check_class_names, check_shape, finite_matrix, integer_labels


def pair_risks(logits: Any, labels: Any, class_names: Sequence[str] | None = None) -> pd.DataFrame:
    r"""Return how much each ordered pair of classes adds to the error, the worst first.

    .. math:: P(\text{error}) \le \sum_i p_i \sum_{j \ne i} \frac{s_{ij}^2}{s_{ij}^2 + \mu_{ij}^2}

    with mean and variance of the pair's margin s_i(x) - s_j(x) over the samples x of class i, by
    Cantelli's inequality. For the logits of the nearest class mean, ``centres @ x - |centres|^2 /
    2``, the fraction is that of the variance along the line between two centres alone: the
    directional form of the class-distance normalised variance.

    An explanation, not a certificate: the sample's moments are plugged in. Each fraction bounds
    the share of this sample's errors, not the error on new data.

    Parameters
    ----------
    logits
        (n, K) held-out scores, K >= 2.
    labels
        (n,) true labels in 0..K-1.
    class_names
        (K,) names; the labels themselves if omitted.

    Returns
    -------
    DataFrame
        One row for each class i that has a sample and each j != i: ``class``, ``rival``,
        ``samples`` of class i, ``errors`` (how many of them have no higher score for i than for
        j), ``mean`` and ``deviation`` of the margin in logits, ``cantelli`` (the fraction; 1 if
        the mean is not above zero), ``risk`` (p_i times the fraction). By falling risk.

    Raises
    ------
    NonFiniteError
        If a logit is not finite.
    NeuralCollapseError
        If K < 2, there is no sample, or labels or names do not fit.

    Notes
    -----
    Ours.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.generalization import pair_risks
    >>> logits = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    >>> pair_risks(logits, [0, 0, 1])[["class", "rival", "mean", "deviation", "cantelli"]]
       class  rival  mean  deviation  cantelli
    0      0      1   2.0        1.0       0.2
    1      1      0   4.0        0.0       0.0
    """
    scores = finite_matrix("logits", logits).detach().cpu()
    n, num_classes = scores.shape
    remedy = "pass one row per held-out sample and one column per class"
    check_shape("logits", scores, ("n >= 1", "K >= 2"), remedy)
    named = class_names is not None
    names = check_class_names(class_names, num_classes) if named else range(num_classes)
    true = integer_labels("labels", labels, n, num_classes).cpu()
    margins = scores.gather(1, true[:, None]) - scores
    counts = torch.bincount(true, minlength=num_classes)
    size = counts.clamp_min(1)[:, None].double()

    def over_classes(values: Tensor) -> Tensor:
        return torch.zeros(num_classes, num_classes).double().index_add_(0, true, values)

    mean = over_classes(margins) / size
    variance = over_classes((margins - mean[true]).square()) / size
    cantelli = torch.where(mean > 0, variance / (variance + mean**2), 1.0)
    i, j = ((counts[:, None] > 0) & ~torch.eye(num_classes, dtype=torch.bool)).nonzero().T
    return pd.DataFrame(
        {
            "class": [names[k] for k in i],
            "rival": [names[k] for k in j],
            "samples": counts[i],
            "errors": over_classes((margins <= 0).double())[i, j].long(),
            "mean": mean[i, j],
            "deviation": variance[i, j].sqrt(),
            "cantelli": cantelli[i, j],
            "risk": cantelli[i, j] * counts[i] / n,
        }
    ).sort_values("risk", ascending=False, ignore_index=True, kind="stable")

"""How well a score tells familiar samples from foreign ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import finite_array, real_number


def auroc(inside: Any, outside: Any) -> float:
    """Return the probability that a familiar sample outscores a foreign one, ties counting half.

    The area under the ROC curve.

    Parameters
    ----------
    inside
        (n,) scores of samples like the training data.
    outside
        (m,) scores of foreign samples.

    Returns
    -------
    float
        In [0, 1]; 1 is perfect, 0.5 is chance.

    Raises
    ------
    NeuralCollapseError
        If one of them is empty.
    NonFiniteError
        If a score is NaN or infinite.

    Examples
    --------
    >>> from neuralcollapse.ood import auroc
    >>> auroc([3.0, 2.0], [1.0, 2.0])
    0.875
    """
    return float(roc_auc_score(*_labelled(inside, outside)))


def fpr_at_tpr(inside: Any, outside: Any, tpr: float = 0.95) -> float:
    """Return the share of foreign samples accepted, at a threshold that accepts 95 % of familiar.

    The threshold is the highest score that at least `tpr` of the familiar samples reach.

    Parameters
    ----------
    inside, outside
        As in `auroc`.
    tpr
        In (0, 1], the share of familiar samples to keep.

    Returns
    -------
    float
        In [0, 1]; 0 is perfect. FPR95 by default.

    Raises
    ------
    NeuralCollapseError
        If one of them is empty, or `tpr` is out of range.
    NonFiniteError
        If a score is NaN or infinite.

    Examples
    --------
    >>> from neuralcollapse.ood import fpr_at_tpr
    >>> fpr_at_tpr([3.0, 2.0], [1.0, 2.0])  # both familiar samples reach 2, and so does one foreign
    0.5
    """
    tpr = real_number("tpr", tpr)
    if not 0 < tpr <= 1:
        raise NeuralCollapseError("tpr", "a share in (0, 1]", str(tpr), "use 0.95")
    false, true, _ = roc_curve(*_labelled(inside, outside), drop_intermediate=False)
    return float(false[np.argmax(true >= tpr)])


def _labelled(inside: Any, outside: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (1 for familiar) and scores of both together."""
    scores = [finite_array("inside", inside), finite_array("outside", outside)]
    for name, part in zip(("inside", "outside"), scores, strict=True):
        if part.ndim != 1 or not len(part):
            raise NeuralCollapseError(
                name, "at least one score, on one axis", f"shape {part.shape}", "score more samples"
            )
    labels = np.repeat([1, 0], [len(part) for part in scores])
    return labels, np.concatenate(scores)

"""The decay of the features that a trained head implies."""

from __future__ import annotations

import math
from typing import Any

import torch

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import class_counts, decay_strength, finite_matrix


def implied_feature_decay(weight: Any, means: Any, class_sizes: Any, lambda_w: float) -> float:
    r"""Return the decay of the features that a trained head and its class means imply.

    .. math:: r = \frac{\lambda_W \|W\|^2}{\|W \bar H D^{1/2}\|_*}, \qquad
        \lambda_H = r^2 / \lambda_W

    A network decays its layers, not its features. At a minimum of the model both decays cost the
    same, lambda_W ||W||^2 = r ||X||_*, so the head's own decay and the logits of the class means
    give r, and the model that the network can be compared with.

    Parameters
    ----------
    weight
        (K, d) head, trained with decay lambda_W.
    means
        (K, d) class means of the features that enter it, not centred.
    class_sizes
        (K,) samples of each class.
    lambda_w
        The head's weight decay, above 0, for the mean loss.

    Returns
    -------
    float
        lambda_H. It means something only near a minimum, after long training.

    Raises
    ------
    NeuralCollapseError
        If shapes do not fit, or all logits are zero.

    Examples
    --------
    >>> from neuralcollapse.theory import implied_feature_decay, unequal_minimizer
    >>> best = unequal_minimizer([8, 4, 2], 2, lambda_w=5e-3, lambda_h=1e-3)
    >>> round(implied_feature_decay(best.W, best.means, [8, 4, 2], 5e-3), 9)
    0.001
    """
    W, H = finite_matrix("weight", weight), finite_matrix("means", means)
    sizes = class_counts("class_sizes", class_sizes).cpu().to(torch.float64)
    if W.shape != H.shape or len(W) != len(sizes):
        expected = f"shape {tuple(W.shape)} and {len(W)} class sizes"
        got = f"{tuple(H.shape)} and {len(sizes)}"
        raise NeuralCollapseError("means", expected, got, "pass one row per class of both")
    product = (H.cpu() @ W.cpu().T) * sizes.sqrt()[:, None]
    nuclear = float(torch.linalg.svdvals(product).sum())
    if nuclear == 0:
        raise NeuralCollapseError("weight", "logits that are not all zero", "zeros", "train first")
    strength = decay_strength("lambda_w", lambda_w) * float(W.square().sum()) / nuclear
    decay = strength * (strength / lambda_w)
    if not 0 < decay < math.inf:
        raise NeuralCollapseError(
            "means", "means of the scale of the weight", f"a decay of {decay:g}", "rescale them"
        )
    return decay

"""CDNV as an error: what the spread of the classes allows the nearest class mean to get wrong."""

from __future__ import annotations

import torch

from neuralcollapse.metrics.between import require_two_classes
from neuralcollapse.metrics.pairs import PairMean, PairTile, sweep_pairs
from neuralcollapse.moments import ClassMoments


def cdnv_error_bound(moments: ClassMoments) -> float:
    r"""Return the error that the class-distance normalised variances explain: no certificate.

    .. math:: P(\text{nearest class mean wrong}) \le \sum_i p_i \sum_{j \ne i}
        \frac{4 v_i}{\|\mu_i - \mu_j\|^2} \;=\; 4 (K - 1) \,\mathrm{CDNV}
        \quad \text{(classes of equal size)}

    An identity of the population, by Chebyshev's inequality along each line between two class
    means. The sample's moments are plugged in, so it bounds the share of this sample that is
    nearer to another class's mean, not the error on new data.

    Parameters
    ----------
    moments
        Of held-out features; those of training features are far more collapsed.

    Returns
    -------
    float
        In [0, 1]; 1 also if two class means coincide.

    Raises
    ------
    NeuralCollapseError
        If fewer than two classes have samples.

    Notes
    -----
    The constant is ours, for class means fixed beforehand. Galanti et al. bound the error of means
    learned from few samples, in the same form with a larger constant.

    References
    ----------
    Galanti, György & Hutter 2022, "On the role of neural collapse in transfer learning".

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.generalization import cdnv_error_bound
    >>> features = torch.tensor([[-8.0], [-6.0], [6.0], [8.0]])
    >>> round(cdnv_error_bound(ClassMoments(2, 1).update(features, [0, 0, 1, 1])), 6)  # 4 / 14^2
    0.020408
    """
    require_two_classes(moments)
    statistic = _PairSum(moments)
    sweep_pairs(moments.centered_means(), [statistic])
    total = statistic.values.total
    return min(total, 1.0) if total == total else 1.0  # NaN: means coincide, without any spread


class _PairSum:
    """The sum over pairs of 4 (p_i v_i + p_j v_j) / ||mu_i - mu_j||^2."""

    def __init__(self, moments: ClassMoments) -> None:
        present = moments.present
        weights = moments.class_weights("pooled")[present]
        self._variances: torch.Tensor = 4 * weights * moments.trace_variances[present]
        self.values = PairMean()

    def add(self, tile: PairTile) -> None:
        """Take the pairs of one tile into account."""
        a, b = tile.of_pairs((self._variances / tile.unit**2).to(tile.gram.dtype))
        self.values.add((a + b).div_(tile.squared_distances))

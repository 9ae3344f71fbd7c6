"""LeftOut: the nearest class mean by leave-one-out, for samples that the means include."""

from __future__ import annotations

import torch
from torch import Tensor

from neuralcollapse.moments.class_moments import ClassMoments


class LeftOut:
    r"""Whether a sample is nearest to the mean of the others of its class.

    A sample pulls the mean of its class towards itself. With the sample left out, and the extra
    noise of a mean of one sample fewer taken off, its squared distance is

    .. math:: D_{\mathrm{own}} = \Bigl(\frac{n}{n-1}\Bigr)^2 \|x - \mu_y\|^2
        - \frac{v_y}{n (n-1)}

    so that the share of samples nearest to their own mean estimates that of new samples. With few
    samples of many features the plain share is near 1, whatever the features are.

    Parameters
    ----------
    moments
        Moments of all samples that the means were computed from.

    Examples
    --------
    >>> features = torch.tensor([[0.0], [3.0], [4.0], [5.0]])
    >>> moments = ClassMoments(2, 1).update(features, [0, 0, 1, 1])
    >>> own, ahead = torch.tensor([2.25, 2.25]), torch.tensor([18.0, 0.0])  # means 1.5 and 4.5
    >>> LeftOut(moments).right(torch.tensor([0, 0]), own, ahead)[0].tolist()
    [True, False]
    """

    def __init__(self, moments: ClassMoments) -> None:
        counts = moments.counts.double()
        rest = counts - 1
        self._told = rest > 0
        rest = rest.clamp_min(1)
        self._factor = (counts / rest).square() - 1
        # v_k with n_k - 1, over n_k (n_k - 1)
        self._less = (moments.trace_variances / rest.square()).nan_to_num()

    def right(self, labels: Tensor, own: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
        """Return which samples (n,) are nearest to their class without them, and which count.

        Parameters
        ----------
        labels
            (n,) int64.
        own
            (n,) squared distances to the mean of their class.
        ahead
            (n,) by how much the least squared distance to another mean is larger.
        """
        factor, less = self._factor.to(labels.device)[labels], self._less.to(labels.device)[labels]
        return own * factor - less < ahead, self._told.to(labels.device)[labels]

    def count(self, labels: Tensor, own: Tensor, ahead: Tensor) -> Tensor:
        """Return how many are nearest, and how many count, (2,) on the CPU."""
        right, told = self.right(labels, own, ahead)
        return torch.stack([(right & told).sum(), told.sum()]).cpu()

"""The losses a classifier is trained with, each a mean over samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from neuralcollapse.training.config import TrainConfig

Loss = Callable[[Tensor, Tensor], Tensor]


def loss_function(config: TrainConfig) -> Loss:
    r"""Return the loss of a configuration, a function of logits (n, K) and labels (n,).

    With p the softmax of the logits z, y the label, e_y its one-hot row and s the smoothing,

    .. math:: \text{ce: } -\log p_y \text{, or }
        -\sum_k \big((1-s)\,[k=y] + \tfrac sK\big) \log p_k, \quad
        \text{mse: } \tfrac12 \|z - e_y\|^2, \quad
        \text{focal: } -(1 - p_y)^\gamma \log p_y

    Parameters
    ----------
    config
        Its `loss`, `label_smoothing` and `focal_gamma` are read.

    References
    ----------
    Szegedy et al. 2016, Section 7 (label smoothing); Lin et al. 2017, Equation 4 (focal loss).

    Examples
    --------
    >>> from torch import tensor
    >>> loss = loss_function(TrainConfig(loss="mse"))
    >>> loss(tensor([[1.0, 2.0]]), tensor([0]))  # (0^2 + 2^2) / 2
    tensor(2.)
    """
    if config.loss == "mse":
        return half_square
    if config.loss == "focal":
        return partial(focal, gamma=2.0 if config.focal_gamma is None else config.focal_gamma)
    return partial(cross_entropy, label_smoothing=config.label_smoothing)


def half_square(logits: Tensor, labels: Tensor) -> Tensor:
    """Return half the squared distance of the logits from one-hot rows, mean over samples."""
    return (logits - one_hot(labels, logits.shape[1])).square().sum(1).mean() / 2


def focal(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Return the focal loss, mean over samples."""
    surprise = cross_entropy(logits, labels, reduction="none")
    # 1 - exp(-x) through expm1: a sample that is nearly certain keeps its digits.
    return ((-(-surprise).expm1()) ** gamma * surprise).mean()

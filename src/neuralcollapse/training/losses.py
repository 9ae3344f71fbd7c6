"""The losses a classifier is trained with, each a mean over samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.config import TrainConfig
from neuralcollapse.training.heads import FixedHead, dot_regression
from neuralcollapse.validation import check_shape

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

    Raises
    ------
    NeuralCollapseError
        If it is dot-regression, for which see `loss_at_head`.

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
    if config.loss == "dot-regression":
        raise NeuralCollapseError(
            "loss", "a function of logits", "dot-regression, one of features", "use loss_at_head"
        )
    return partial(cross_entropy, label_smoothing=config.label_smoothing)


@contextmanager
def loss_at_head(model: nn.Module, config: TrainConfig) -> Iterator[Loss]:
    """Give the loss of the batch that last went through the model, of whatever kind.

    Like `loss_function`'s it takes logits and labels; dot-regression takes the features from what
    entered the fixed head, which is watched in the block.

    Parameters
    ----------
    model
        Has one `FixedHead` if the loss is dot-regression.
    config
        Of the loss.

    Yields
    ------
    callable
        The loss.

    Raises
    ------
    NeuralCollapseError
        If the loss is dot-regression, and there is not one fixed head; or, of a batch, if what
        enters it is no (n, d) matrix.
    """
    if config.loss != "dot-regression":
        yield loss_function(config)
        return
    heads = [module for module in model.modules() if isinstance(module, FixedHead)]
    if len(heads) != 1:
        raise NeuralCollapseError(
            "model", "one FixedHead for dot-regression", str(len(heads)), "let train() put it there"
        )
    (head,), entered = heads, list[Tensor]()

    def catch(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        entered[:] = arguments[:1]

    def loss(_: Tensor, labels: Tensor) -> Tensor:
        features = entered.pop()
        check_shape("features", features, ("n", "d"), "pool before the head")
        return dot_regression(features.to(head.weight.dtype), labels, head.weight)

    watching = head.register_forward_pre_hook(catch)
    try:
        yield loss
    finally:
        watching.remove()


def half_square(logits: Tensor, labels: Tensor) -> Tensor:
    """Return half the squared distance of the logits from one-hot rows, mean over samples."""
    return (logits - one_hot(labels, logits.shape[1])).square().sum(1).mean() / 2


def focal(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Return the focal loss, mean over samples."""
    surprise = cross_entropy(logits, labels, reduction="none")
    # 1 - exp(-x) through expm1: a sample that is nearly certain keeps its digits.
    return ((-(-surprise).expm1()) ** gamma * surprise).mean()

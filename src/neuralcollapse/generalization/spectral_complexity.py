"""The spectral complexity of a whole network: a measure to compare networks by, no bound."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import finite_matrix

ONE_LIPSCHITZ = (nn.Flatten, nn.Identity, nn.Dropout, nn.ReLU, nn.Tanh)


def spectral_complexity_measure(network: nn.Module | Iterable[Any]) -> float:
    r"""Return the spectral complexity R_A of a network of linear layers.

    .. math:: R_A = \prod_l s_l \; \Bigl( \sum_l (b_l / s_l)^{2/3} \Bigr)^{3/2}, \qquad
        s_l = \|A_l\|_2, \quad b_l = \sum_{\text{units } r} \|(A_l)_r\|

    A *measure* of a trained network, to set beside its margins: R_A ||X||_F / (g n) orders
    networks by how hard the theory finds them. It is not a bound on the error. With the constants
    of the theorem it appears in, the bound exceeds 1 by four or five powers of ten on small
    networks, and no margin of the training sample makes it a statement about new data.

    Parameters
    ----------
    network
        `nn.Sequential` of linear layers with activations that contract distances and fix 0 (or
        this library's `MLP`), in evaluation mode: batch norm is folded into the layer before it.
        Or the weight matrices themselves, (out, in), first layer first. Biases and shifts do not
        count.

    Returns
    -------
    float
        R_A; homogeneous of degree 1 in each matrix.

    Raises
    ------
    NonFiniteError
        If a weight is NaN or infinite.
    NeuralCollapseError
        If there is no layer, a matrix is zero, or a module is of another kind.

    References
    ----------
    Bartlett, Foster & Telgarsky 2017, "Spectrally-normalized margin bounds for neural networks",
    Equation 1.2, with reference matrices zero.

    Examples
    --------
    >>> round(spectral_complexity_measure([torch.eye(2), torch.eye(2)]), 6)  # (2 * 2^(2/3))^(3/2)
    5.656854
    """
    matrices = list(_matrices(network)) if isinstance(network, nn.Module) else list(network)
    if not matrices:
        raise NeuralCollapseError("network", "at least one linear layer", "none", "pass one")
    weights = [finite_matrix("network", matrix) for matrix in matrices]
    norms = [float(torch.linalg.matrix_norm(weight, 2)) for weight in weights]
    if not all(norms):
        raise NeuralCollapseError(
            "network", "weights that are not all zero", f"layer {norms.index(0)} zero", "drop it"
        )
    sums = [float(weight.norm(dim=1).sum()) for weight in weights]
    spread = sum((b / s) ** (2 / 3) for b, s in zip(sums, norms, strict=True))
    return math.prod(norms) * spread**1.5


def _matrices(network: nn.Module) -> Iterator[Tensor]:
    """Yield the weights, each times the scale of the batch norm that follows at once."""
    if network.training:
        raise NeuralCollapseError("network", "evaluation mode", "training mode", "call .eval()")
    pending: Tensor | None = None
    for layer in _flat(network):
        if isinstance(layer, nn.BatchNorm1d) and pending is not None:
            scale = (layer.running_var.double() + layer.eps).rsqrt()  # type: ignore[union-attr]
            if layer.weight is not None:
                scale = scale * layer.weight.detach().double()
            pending = pending * scale[:, None]
            continue
        if pending is not None:
            yield pending
        pending = None
        if isinstance(layer, nn.Linear):
            pending = layer.weight.detach().double()
        elif not isinstance(layer, ONE_LIPSCHITZ):
            raise NeuralCollapseError(
                "network",
                "linear layers, batch norm right after them, ReLU, tanh, dropout",
                type(layer).__name__,
                "pass the matrices of the layers instead",
            )
    if pending is not None:
        yield pending


def _flat(network: Any) -> Iterator[nn.Module]:
    if hasattr(network, "features") and hasattr(network, "head"):
        network = [network.features, network.head]
    if isinstance(network, (list, nn.Sequential)):
        for layer in network:
            yield from _flat(layer)
    else:
        yield network

"""The spectral complexity of a whole network, and the bound it enters, which is vacuous."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.certificates.held_out import failure_probability
from neuralcollapse.generalization.head_sample import rademacher_deviation, ramp_loss
from neuralcollapse.validation import as_tensor, finite_matrix, finite_tensor, positive

ONE_LIPSCHITZ = (nn.Flatten, nn.Identity, nn.Dropout, nn.ReLU, nn.Tanh)


def spectral_complexity_measure(network: nn.Module | Iterable[Any]) -> float:
    r"""Return the spectral complexity R_A of a network of linear layers.

    .. math:: R_A = \prod_l s_l \; \Bigl( \sum_l (b_l / s_l)^{2/3} \Bigr)^{3/2}, \qquad
        s_l = \|A_l\|_2, \quad b_l = \sum_{\text{units } r} \|(A_l)_r\|

    A *measure* of a trained network, to set beside its margins: R_A ||X||_F / (g n) orders
    networks by how hard the theory finds them. It is not a bound on the error. With the constants
    of the theorem it appears in, the bound is above 2 million for a perceptron trained on 500
    digits, and no margin of the training sample makes it a statement about new data.

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
    >>> import torch
    >>> from neuralcollapse.generalization import spectral_complexity_measure
    >>> round(spectral_complexity_measure([torch.eye(2), torch.eye(2)]), 6)  # (2 * 2^(2/3))^(3/2)
    5.656854
    """
    weights = _weights(network)
    norms = [float(torch.linalg.matrix_norm(weight, 2)) for weight in weights]
    if not all(norms):
        raise NeuralCollapseError(
            "network", "weights that are not all zero", f"layer {norms.index(0)} zero", "drop it"
        )
    sums = [float(weight.norm(dim=1).sum()) for weight in weights]
    spread = sum((b / s) ** (2 / 3) for b, s in zip(sums, norms, strict=True))
    return math.prod(norms) * spread**1.5


def whole_network_bound(
    network: nn.Module | Iterable[Any],
    inputs: Any,
    margins: Any,
    *,
    margin: float,
    confidence: float = 0.95,
) -> float:
    r"""Return the margin bound of all networks of these norms, which holds on the training set.

    .. math:: P(m \le 0) \;\le\; \frac1n \sum_i \min\bigl(1, (1 - m_i/g)_+\bigr)
        + \frac{8}{n^{3/2}} + \frac{72 \ln n \sqrt{\ln(2 W^2)}\, \|X\|_F R_A}{g\, n}
        + 3 \sqrt{\frac{\ln(2/\delta)}{2n}}

    with W the largest width. As written it is for norms and a margin fixed beforehand; for those of
    a trained network a union over a grid about doubles it. For a perceptron trained on 500 digits
    it is above 2 million: it is here to be seen, not to be used.

    Parameters
    ----------
    network
        As in `spectral_complexity_measure`.
    inputs
        (n, ...) training inputs, n >= 2.
    margins
        (n,) their margins, from `neuralcollapse.metrics.sample_margins`.
    margin
        g > 0, in logits.
    confidence
        1 - delta, in (0, 1).

    Returns
    -------
    float
        The bound; above 1 it says nothing.

    Raises
    ------
    NonFiniteError
        If a number is NaN or infinite.
    NeuralCollapseError
        If a shape does not fit, a number is out of range, or as `spectral_complexity_measure`.

    References
    ----------
    Bartlett, Foster & Telgarsky 2017, Theorem 3.3 with their Dudley lemma; the constants are
    derived anew, without biases, reference matrices zero.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.generalization import whole_network_bound
    >>> round(whole_network_bound([torch.eye(2)], torch.eye(2), [1.0, 1.0], margin=1.0))
    107
    """
    rows = finite_matrix("inputs", as_tensor("inputs", inputs).flatten(1))
    least = positive("margin", margin)
    gaps = finite_tensor("margins", margins)
    n = len(rows)
    if n < 2 or len(gaps) != n:
        expected = "one margin for each of at least 2 inputs"
        got = f"{len(gaps)} for {n} inputs"
        raise NeuralCollapseError("margins", expected, got, "pass the training set")
    weights = _weights(network)
    width = max(size for weight in weights for size in weight.shape)
    rate = 72 * math.log(n) * math.sqrt(math.log(2 * width**2)) * float(rows.norm())
    complexity = rate * spectral_complexity_measure(weights) / (least * n)
    deviation = rademacher_deviation(n, failure_probability(confidence))
    return ramp_loss(gaps, least) + 8 / n**1.5 + complexity + deviation


def _weights(network: nn.Module | Iterable[Any]) -> list[Tensor]:
    matrices = list(_matrices(network)) if isinstance(network, nn.Module) else list(network)
    if not matrices:
        raise NeuralCollapseError("network", "at least one linear layer", "none", "pass one")
    return [finite_matrix("network", matrix) for matrix in matrices]


def _matrices(network: nn.Module) -> Iterator[Tensor]:
    """Yield the weights, each times the scale of the batch norm that follows at once."""
    if network.training:
        raise NeuralCollapseError("network", "evaluation mode", "training mode", "call .eval()")
    pending: Tensor | None = None
    for layer in _flat(network):
        variance = layer.running_var if isinstance(layer, nn.BatchNorm1d) else None
        if isinstance(layer, nn.BatchNorm1d) and pending is not None and variance is not None:
            scale = (variance.double() + layer.eps).rsqrt()
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
            expected = (
                "linear layers, batch norm right after them, with running statistics, "
                "ReLU, tanh, dropout"
            )
            remedy = "pass the matrices of the layers instead"
            raise NeuralCollapseError("network", expected, type(layer).__name__, remedy)
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

"""Exact norms of linear layers, as maps of whole inputs: certified from above."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import finite_matrix

Convolution = nn.Conv1d | nn.Conv2d


def linear_norm(layer: nn.Linear) -> float:
    """Return the largest singular value of the weights, which is the layer's Lipschitz constant.

    Parameters
    ----------
    layer
        Any; its bias does not count.

    Returns
    -------
    float
        From an SVD in float64, exact but for round-off; never from a power iteration, which
        approaches the norm from below.

    Raises
    ------
    NonFiniteError
        If a weight is NaN or infinite.

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> _ = layer.weight.data.copy_(torch.tensor([[0.0, 3.0], [0.0, 4.0]]))
    >>> round(linear_norm(layer), 6)
    5.0
    """
    return float(torch.linalg.matrix_norm(finite_matrix("weight", layer.weight.detach()), 2))


def convolution_norm(layer: Convolution, size: tuple[int, ...]) -> float:
    r"""Return an upper bound on the norm of a convolution of images of this size.

    On a torus the convolution is a multiplication at each frequency, so that with the transformed
    kernel :math:`\hat C(f)` (out, in) and stride s its norm is exactly

    .. math:: \max_f \frac{1}{\sqrt{\prod s}} \bigl\| [\hat C(f_1), \hat C(f_2), \ldots] \bigr\|_2

    over the frequencies :math:`f_1, f_2, \ldots` that the stride makes one. With zero padding the
    map is that on the torus of the padded image, restricted to some inputs and outputs, which can
    only lower the norm. The norm of the kernel reshaped to a matrix is none of this.

    Parameters
    ----------
    layer
        `Conv1d` or `Conv2d` with any stride, dilation and groups; zero or circular padding.
    size
        Length, or height and width, of its inputs.

    Returns
    -------
    float
        Exact for circular padding that keeps the size; else an upper bound, the closer the larger
        the image.

    Raises
    ------
    NonFiniteError
        If a weight is NaN or infinite.
    NeuralCollapseError
        If the padding is of another kind, or circular and changes the size.

    References
    ----------
    Sedghi, Gupta & Long 2019, "The singular values of convolutional layers", for circular
    padding and stride 1; stride and zero padding are ours.

    Examples
    --------
    >>> layer = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
    >>> _ = layer.weight.data.fill_(1 / 9)  # the mean of 9 neighbours: a constant image stays
    >>> round(convolution_norm(layer, (8, 8)), 6)
    1.0
    """
    kernel = layer.weight.detach().to(torch.float64)
    finite_matrix("weight", kernel.flatten(1))
    torus = _torus(layer, size)
    axes = tuple(range(2, kernel.ndim))
    spread = torch.zeros(*kernel.shape[:2], *torus, dtype=torch.float64, device=kernel.device)
    for place in itertools.product(*[range(k) for k in kernel.shape[2:]]):
        # Modulo the torus, on which a kernel larger than a circular image overlaps itself.
        steps = zip(place, layer.dilation, torus, strict=True)
        source: tuple[Any, ...] = (..., *place)
        target: tuple[Any, ...] = (..., *(at * step % length for at, step, length in steps))
        spread[target] += kernel[source]
    frequencies = torch.fft.fftn(spread, dim=axes)
    largest = 0.0
    for group in frequencies.chunk(layer.groups):
        matrices = _aliased(group, layer.stride)
        largest = max(largest, float(torch.linalg.matrix_norm(matrices, 2).max()))
    return largest / math.sqrt(math.prod(layer.stride))


def _torus(layer: Convolution, size: tuple[int, ...]) -> tuple[int, ...]:
    """Return the lengths of the torus on which the layer is a part of a circular convolution."""
    if layer.padding == "valid":
        padding = [0] * len(size)
    elif layer.padding == "same":
        padding = [
            math.ceil(d * (k - 1) / 2)
            for d, k in zip(layer.dilation, layer.kernel_size, strict=True)
        ]
    else:
        padding = [int(p) for p in layer.padding]
    if layer.padding_mode == "circular":
        keeps = all(
            2 * p == d * (k - 1) and length % s == 0
            for p, d, k, length, s in zip(
                padding, layer.dilation, layer.kernel_size, size, layer.stride, strict=True
            )
        )
        if keeps:
            return size
    elif layer.padding_mode == "zeros":
        padded = [length + 2 * p for length, p in zip(size, padding, strict=True)]
        return tuple(s * math.ceil(n / s) for n, s in zip(padded, layer.stride, strict=True))
    expected = "zeros, or circular with an odd kernel, the size kept and divisible by the stride"
    got = f"{layer.padding_mode} padding {layer.padding} of size {size}"
    remedy = "such padding repeats inputs, for which no bound is known here"
    raise NeuralCollapseError("padding", expected, got, remedy)


def _aliased(frequencies: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Put side by side the matrices (out, in) of the frequencies that the stride makes one."""
    out, width, *torus = frequencies.shape
    shape = [part for length, s in zip(torus, stride, strict=True) for part in (s, length // s)]
    split = frequencies.reshape(out, width, *shape)
    aliases = list(range(2, split.ndim, 2))
    coarse = list(range(3, split.ndim, 2))
    return split.permute(*coarse, 0, 1, *aliases).flatten(0, len(coarse) - 1).flatten(2)

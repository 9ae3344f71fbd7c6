"""Small perceptrons with fixed heads, as seeds determine them: weights and order of batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import (
    finite_matrix,
    occupied_labels,
    positive,
    real_number,
    whole_number,
)


@dataclass(frozen=True)
class PerceptronConfig:
    """Layers of a perceptron, and its training by stochastic gradient descent.

    Attributes
    ----------
    widths
        Of the hidden layers, each followed by a ReLU.
    dim
        d, dimension of the features: one more linear layer.
    relu_features
        Whether a ReLU follows that layer too.
    lr, momentum, weight_decay
        Of stochastic gradient descent on the cross-entropy, at a constant rate.
    batch_size, epochs
        A last, smaller batch of an epoch is used too.
    dtype
        Of weights and activations.

    Raises
    ------
    NeuralCollapseError
        If a value is out of range.

    Examples
    --------
    >>> from neuralcollapse.training import PerceptronConfig
    >>> config = PerceptronConfig(widths=(32,), dim=8, epochs=20)
    >>> config.lr, config.relu_features
    (0.01, True)
    """

    widths: tuple[int, ...] = (64, 64)
    dim: int = 16
    relu_features: bool = True
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 25
    epochs: int = 150
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        whole = {"dim": self.dim, "batch_size": self.batch_size, "epochs": self.epochs}
        whole |= {f"widths[{i}]": width for i, width in enumerate(self.widths)}
        for name, value in whole.items():
            whole_number(name, value)
        decays = (("momentum", self.momentum, 1.0), ("weight_decay", self.weight_decay, math.inf))
        for name, factor, high in decays:
            if not 0 <= real_number(name, factor) < high:
                raise NeuralCollapseError(
                    name, f"a number in [0, {high:g})", str(factor), "correct the configuration"
                )
        positive("lr", self.lr)


def initial_weights(
    seed: int, inputs: int, config: PerceptronConfig
) -> tuple[list[Float[Tensor, "_ _"]], list[Float[Tensor, "1 _"]]]:
    r"""Draw a network's weights: independent Gaussians, biases zero.

    The variance of a weight is 2 / fan-in before a ReLU (He et al. 2015) and 1 / fan-in before
    linear features. The law of the last layer does not change under rotations of the features.

    Parameters
    ----------
    seed
        Determines them; the last layers of different `dim` differ, the earlier ones do not.
    inputs
        p, numbers in an input.
    config
        Tells the layers.

    Returns
    -------
    tuple
        Weights (in, out) and biases (1, out), one per layer.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = list(pairwise((inputs, *config.widths, config.dim)))
    weights = []
    for layer, (fan_in, fan_out) in enumerate(sizes):
        rectified = config.relu_features or layer < len(sizes) - 1
        gaussian = torch.randn(fan_in, fan_out, generator=generator, dtype=torch.float64)
        weights.append((gaussian * math.sqrt((2 if rectified else 1) / fan_in)).to(config.dtype))
    return weights, [torch.zeros(1, fan_out, dtype=config.dtype) for _, fan_out in sizes]


def initial_means(
    seed: int, inputs: Any, labels: Any, config: PerceptronConfig
) -> Float[Tensor, "K d"]:
    """Return the class means of the features of an untrained network, for `align`.

    Parameters
    ----------
    seed
        Of the network.
    inputs, labels
        (n, p) and (n,) of training data, every class there.
    config
        Tells the layers.

    Returns
    -------
    Tensor of shape (K, d), float64
        Row k: mean of the features of class k.
    """
    data, true = finite_matrix("inputs", inputs), occupied_labels("labels", labels)
    weights, biases = initial_weights(seed, data.shape[1], config)
    features = data.to(config.dtype)
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        features = torch.addmm(bias, features, weight)
        if config.relu_features or layer < len(weights) - 1:
            features = features.relu()
    features = features.double()
    return torch.stack([features[true == k].mean(0) for k in range(int(true.max()) + 1)])


def batch_order(
    seed: int, order: int, samples: int, config: PerceptronConfig
) -> Iterator[Int[Tensor, " b"]]:
    """Yield the sample indices of every batch of a run.

    Parameters
    ----------
    seed, order
        Determine the stream, together: each seed has its own order 0, order 1, ...
    samples
        n, of the training data.
    config
        Tells batch size and epochs.
    """
    key = int(np.random.SeedSequence([seed, order]).generate_state(1, np.uint64)[0]) >> 1
    generator = torch.Generator().manual_seed(key)
    for _ in range(config.epochs):
        yield from torch.randperm(samples, generator=generator).split(config.batch_size)

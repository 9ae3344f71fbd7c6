"""A simplex ETF in place of a network's trained head."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.geometry.simplex_etf import Orientation
from neuralcollapse.measurement import FeatureTap
from neuralcollapse.training.config import TrainConfig
from neuralcollapse.training.heads import FixedHead


def fix_head(model: nn.Module, inputs: Any, config: TrainConfig) -> None:
    """Replace the head of a network by the fixed simplex ETF of a configuration, in place.

    Parameters
    ----------
    model
        Its head is the last linear layer, as `FeatureTap` finds it.
    inputs
        A few, to find the head. If all of their features are non-negative, those of all data are
        taken to be, and a head that such features cannot fit raises a warning.
    config
        Its `head_scale`, `head_orientation`, `head_seed` and `head_permutation` are read. The head
        depends on these and on the shape of the old one alone.

    Raises
    ------
    NeuralCollapseError
        If the head is not found or is the whole network, or there is no ETF of its shape.

    Warns
    -----
    UnfittableHeadWarning
        See `FixedHead`.

    References
    ----------
    Yang et al. 2022, "Inducing neural collapse in imbalanced learning".

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from neuralcollapse.training import TrainConfig, fix_head
    >>> model = nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 3))
    >>> fix_head(model, torch.ones(2, 5), TrainConfig(head="etf", head_bias=False))
    >>> model[1]
    FixedHead(in_features=8, out_features=3, bias=False)
    """
    name, old, features = _found(model, inputs)
    if not name:
        raise NeuralCollapseError(
            "model", "a network before the head to be fixed", "the head alone", "add a layer"
        )
    num_classes, dim = old.shape
    weight = placed_etf(num_classes, dim, config).to(old.device)
    parent, _, child = name.rpartition(".")
    head = FixedHead(weight, nonnegative=bool((features >= 0).all()), dtype=old.dtype)
    setattr(model.get_submodule(parent), child, head)


def placed_etf(num_classes: int, dim: int, config: TrainConfig) -> Tensor:
    """Return the rows of the fixed head of a configuration.

    Parameters
    ----------
    num_classes, dim
        K and d.
    config
        As in `fix_head`.

    Returns
    -------
    Tensor of shape (K, d), float64

    Raises
    ------
    NeuralCollapseError
        If there is no such ETF.

    Examples
    --------
    >>> config = TrainConfig(head="etf", head_bias=False, head_scale=5.0)
    >>> placed_etf(4, 6, config).norm(dim=1).round(decimals=9).tolist()
    [5.0, 5.0, 5.0, 5.0]
    """
    orientation = cast(Orientation, config.head_orientation or "haar")
    rotation = torch.Generator().manual_seed(config.head_seed or 0)
    vertices = simplex_etf(num_classes, dim, orientation, rotation)
    if config.head_permutation is not None:
        shuffle = torch.Generator().manual_seed(config.head_permutation)
        vertices = vertices[torch.randperm(num_classes, generator=shuffle)]
    return vertices * (1.0 if config.head_scale is None else config.head_scale)


def _found(model: nn.Module, inputs: Any) -> tuple[str, Tensor, Tensor]:
    """Return the name and the weight of the head, and the features of the inputs."""
    training = model.training
    model.eval()  # neither statistics of batches nor random states are to change
    with torch.no_grad(), FeatureTap(model) as tap:
        model(inputs)
        features, _ = tap.take()
        weight = tap.weight
    model.train(training)
    assert weight is not None  # the head is the FixedHead that takes its place later
    return tap.name, weight, features

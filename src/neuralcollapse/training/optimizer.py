"""The optimiser of a configuration, with a weight decay of its own for the head if wanted."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.config import TrainConfig


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimiser of a configuration.

    Parameters
    ----------
    model
        Its last layer is called ``head`` if that is to have a weight decay of its own.
    config
        Its `optimizer`, `lr`, `momentum`, `weight_decay` and `head_weight_decay` are read.

    Raises
    ------
    NeuralCollapseError
        If the head is to have a weight decay of its own, and the model has none.
    """
    groups = _parameter_groups(model, config)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, config.lr)
    return torch.optim.SGD(groups, config.lr, config.momentum)


def _parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Split the parameters by their weight decay."""
    if config.head_weight_decay is None:
        return [{"params": list(model.parameters()), "weight_decay": config.weight_decay}]
    head = [p for name, p in model.named_parameters() if name.startswith("head.")]
    others = [p for name, p in model.named_parameters() if not name.startswith("head.")]
    if not head:
        raise NeuralCollapseError(
            "model", "a layer called head", "none", "rename it, or leave out head_weight_decay"
        )
    return [
        {"params": others, "weight_decay": config.weight_decay},
        {"params": head, "weight_decay": config.head_weight_decay},
    ]

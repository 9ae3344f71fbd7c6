"""How a head is trained: the settings of its group in the optimiser, for the record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

# Those that say what becomes of the head's mean row, see `theory.head_mean_path`.
SETTINGS = ("lr", "weight_decay", "momentum", "dampening", "nesterov")


def head_settings(optimizers: Iterable[Any], weight: Tensor | None) -> dict[str, Any] | None:
    """Return how the optimiser trains a head; None where none of them does, or none is known.

    Parameters
    ----------
    optimizers
        Of torch, or wrapped by a trainer that keeps their ``param_groups``.
    weight
        (K, d) the head as it now stands, by whose values it is found among the parameters.

    Returns
    -------
    dict or None
        ``name``, such as ``"SGD"``, whether its decay is ``decoupled`` from the gradient, and of
        the settings ``lr``, ``weight_decay``, ``momentum``, ``dampening`` and ``nesterov`` those
        that it has.

    Examples
    --------
    >>> layer = torch.nn.Linear(2, 3)
    >>> head_settings([torch.optim.AdamW(layer.parameters(), lr=0.1)], layer.weight)
    {'name': 'AdamW', 'decoupled': True, 'lr': 0.1, 'weight_decay': 0.01}
    """
    if weight is None:
        return None
    for optimizer in optimizers:
        name = type(getattr(optimizer, "optimizer", optimizer)).__name__
        for group in optimizer.param_groups:
            alike = (p.detach() for p in group["params"] if p.shape == weight.shape)
            if any(torch.equal(parameter.to(weight), weight) for parameter in alike):
                known = {key: group[key] for key in SETTINGS if group.get(key) is not None}
                decoupled = name.endswith("AdamW") or bool(group.get("decoupled_weight_decay"))
                numbers = {
                    key: value if isinstance(value, bool) else float(value)
                    for key, value in known.items()
                }
                return {"name": name, "decoupled": decoupled, **numbers}
    return None


def decay_of(settings: Mapping[str, Any] | None) -> float | None:
    """Return the decay of the head as a part of the loss; None where it is none, or not known.

    Decay that is decoupled from the gradient is no part of what is minimised.

    Parameters
    ----------
    settings
        Of `head_settings`.
    """
    if settings is None or settings.get("decoupled"):
        return None
    return float(settings.get("weight_decay", 0.0)) or None

"""Which networks the atlas has: a fixed random part of a factorial design."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from neuralcollapse.studies.figure_job import Scale
from neuralcollapse.training import TrainConfig

# What each factor is, and at which levels. The learning rates are those at which either optimiser
# fits clean labels in the epochs given.
FACTORS: dict[str, dict[str, dict[str, Any]]] = {
    "network": {"perceptron": {"net": "mlp"}, "CNN": {"net": "cnn"}},
    "data": {
        "digits": {"data": "digits", "per_class": 60},
        "Fashion-MNIST": {"data": "fashion-mnist", "per_class": 60, "test_per_class": 100},
    },
    "weight decay": {f"{decay:g}": {"weight_decay": decay} for decay in (0.0, 5e-4, 5e-3)},
    "loss": {"cross-entropy": {"loss": "ce"}, "squared error": {"loss": "mse"}},
    "optimiser": {
        "SGD": {"optimizer": "sgd", "lr": 0.05},
        "AdamW": {"optimizer": "adamw", "lr": 2e-3},
    },
    "label noise": {"none": {}, "20 %": {"label_noise": 0.2}},
    "imbalance": {"none": {}, "5 : 1": {"imbalance": 5.0}},
}
COMMON: dict[str, Any] = {"width": 0.25, "batch_size": 50, "epochs": 150}
NETWORKS: dict[Scale, int] = {"quick": 8, "small": 72, "medium": 192, "paper": 192}
DRAW_SEED = 0

Levels = dict[str, str]


def atlas_design(scale: Scale, data_root: str | None = None) -> list[tuple[Levels, TrainConfig]]:
    """Return the networks: the level of each factor by name, and what is trained.

    Parameters
    ----------
    scale
        Decides how many of all combinations there are: the first of one fixed random order.
    data_root
        Folder of the data's files, see `load_dataset`.

    Examples
    --------
    >>> design = atlas_design("small")
    >>> len(design), len({config for _, config in design})
    (72, 72)
    """
    cells = list(itertools.product(*(levels.items() for levels in FACTORS.values())))
    order = np.random.default_rng(DRAW_SEED).permutation(len(cells))
    return [_network(cells[i], data_root) for i in order[: NETWORKS[scale]]]


def _network(
    cell: Sequence[tuple[str, dict[str, Any]]], data_root: str | None
) -> tuple[Levels, TrainConfig]:
    values = COMMON | {"data_root": data_root}
    for _, own in cell:
        values = values | own
    names = [name for name, _ in cell]
    return dict(zip(FACTORS, names, strict=True)), TrainConfig.from_dict(values)

"""Perceptrons on digits with every alignment of a fixed head, from the same seeds and orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from neuralcollapse.geometry import align
from neuralcollapse.runs.provenance import versions
from neuralcollapse.studies.gao2023.digits import all_digits
from neuralcollapse.training import PerceptronConfig, train_ensemble
from neuralcollapse.training.ensemble import Ensemble
from neuralcollapse.training.perceptron import initial_means

Data = tuple[Tensor, Tensor, Tensor, Tensor]
TRAIN_IMAGES = 300


@dataclass(frozen=True)
class AlignmentSetting:
    """What all runs of a design share.

    Attributes
    ----------
    config
        The perceptrons and their training.
    scale
        Norm of the head's rows.
    seeds
        Of the initial weights.
    orders
        Orders of the data for each seed.
    split_seed
        Of the 300 training images.
    """

    config: PerceptronConfig
    scale: float = 5.0
    seeds: tuple[int, ...] = tuple(range(10))
    orders: int = 2
    split_seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return all that determines the runs, JSON-ready, versions and threads included."""
        config = asdict(self.config) | {"dtype": str(self.config.dtype)}
        return {
            **vars(self),
            "config": config,
            "train_images": TRAIN_IMAGES,
            "versions": versions()["versions"],
            "threads": torch.get_num_threads(),
        }


@cache
def digits_split(split_seed: int) -> Data:
    """Return 300 training inputs and labels, stratified by class, and the other 1,497 for testing.

    Parameters
    ----------
    split_seed
        Determines which images are trained on.
    """
    images, labels = all_digits()
    train, test = train_test_split(
        range(len(labels)), train_size=TRAIN_IMAGES, random_state=split_seed, stratify=labels
    )
    inputs = images.flatten(1)
    return inputs[train], labels[train], inputs[test], labels[test]


def train_alignments(
    setting: AlignmentSetting,
    heads: Mapping[Any, Tensor],
    rules: Sequence[str] = (),
    progress: bool = False,
) -> tuple[pd.DataFrame, Ensemble]:
    """Train every head from every seed with every order of the data.

    Parameters
    ----------
    setting
        What they share.
    heads
        (K, d) unit rows of each alignment, by name.
    rules
        Rules of `align`, applied to the first head and the untrained network of each seed.
    progress
        Show a progress bar.

    Returns
    -------
    tuple
        One run per row: ``alignment`` (name or rule), ``seed`` and ``order``, seeds slowest
        and orders fastest; and its network.
    """
    inputs, labels, _, _ = digits_split(setting.split_seed)
    first = next(iter(heads.values()))
    runs, rows = [], []
    for seed in setting.seeds:
        means = initial_means(seed, inputs, labels, setting.config)
        placed = {**heads, **{rule: align(first, means, rule) for rule in rules}}
        for name, head in placed.items():
            for order in range(setting.orders):
                runs.append((name, seed, order))
                rows.append(setting.scale * head)
    _, seeds, orders = zip(*runs, strict=True)
    heads_of_runs = torch.stack(rows)
    trained = train_ensemble(inputs, labels, heads_of_runs, seeds, orders, setting.config, progress)
    return pd.DataFrame(runs, columns=["alignment", "seed", "order"]), trained


def run_alignments(
    setting: AlignmentSetting,
    heads: Mapping[Any, Tensor],
    rules: Sequence[str] = (),
    progress: bool = False,
) -> pd.DataFrame:
    """Train as `train_alignments` does, and return how the runs ended.

    Parameters
    ----------
    setting, heads, rules, progress
        As there.

    Returns
    -------
    DataFrame
        One run per row: ``alignment``, ``seed`` and ``order``, ``value`` (test accuracy),
        ``converged`` (whether training accuracy is 1 at the end), ``train_accuracy``,
        ``epochs_to_fit``.
    """
    train_inputs, train_labels, test_inputs, test_labels = digits_split(setting.split_seed)
    table, trained = train_alignments(setting, heads, rules, progress)
    train_accuracy = trained.accuracy(train_inputs, train_labels).numpy()
    return table.assign(
        value=trained.accuracy(test_inputs, test_labels).numpy(),
        converged=train_accuracy == 1,
        train_accuracy=train_accuracy,
        epochs_to_fit=trained.epochs_to_fit.numpy(),
    )


def to_record(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Return runs as JSON-ready columns, with None for an epoch that never came.

    Parameters
    ----------
    table
        From `run_alignments`.
    """
    columns = {str(name): table[name].tolist() for name in table}
    epochs = columns["epochs_to_fit"]
    return columns | {"epochs_to_fit": [e if e == e else None for e in epochs]}


def from_record(record: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Return the runs that `to_record` recorded.

    Parameters
    ----------
    record
        Columns.
    """
    return pd.DataFrame(dict(record)).astype({"epochs_to_fit": float})

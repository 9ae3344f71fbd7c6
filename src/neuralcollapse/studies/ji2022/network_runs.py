"""The networks of Figures 1 and 3 to 6, trained without weight decay, and their errors in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralcollapse.runs.record import Record
from neuralcollapse.studies.figure_job import SEEDS, SMALL, Scale
from neuralcollapse.training import TrainConfig

# Network and data of each figure. The paper shows further pairs as its Figures 6 to 8; which they
# are is not known to us, and ours has one. All settings but "without weight decay" are ours too.
FIGURES = {
    1: (("resnet18", "mnist"), ("resnet18", "cifar10")),
    3: (("vgg13", "cifar10"),),
    4: (("vgg13", "mnist"),),
    5: (("vgg18", "kmnist"),),
    6: (("vgg18", "fashion-mnist"),),
}
# A constant learning rate, as in the gradient flow of the theory.
COMMON: dict[str, Any] = {"weight_decay": 0.0, "lr_schedule": "constant", "batch_size": 128}
SCALES: dict[Scale, dict[str, Any]] = {
    "quick": {"width": 0.25, "per_class": 60, "epochs": 150, "lr": 0.02, "batch_size": 64},
    "small": SMALL | {"epochs": 150, "lr": 0.05, "batch_size": 64, "test_per_class": 100},
    "medium": {"per_class": 1000, "epochs": 150, "lr": 0.05, "precision": "bf16"},
    "paper": {"epochs": 300, "lr": 0.05, "precision": "bf16"},
}
# What stands in for the paper's data; other data is taken as it is.
STAND_INS: dict[Scale, dict[str, str]] = {
    "quick": dict.fromkeys(("mnist", "cifar10", "kmnist", "fashion-mnist"), "digits"),
    "small": {"mnist": "mnist-5k", "cifar10": "fashion-mnist", "kmnist": "mnist-5k"},
    "medium": dict.fromkeys(("mnist", "cifar10", "kmnist"), "fashion-mnist"),
    "paper": {},
}
# What is drawn, and the exponent in log t that the theory's flow gives it. The rows of the
# classifier are centred, as softmax sees them; uncentred ones would fall like those of distances.
ERRORS = {
    "nc2_equinorm": -1.0,
    "nc2_equinorm_head": -1.0,
    "nc1_trace_ratio": -0.5,
    "nc2_equiangular": -1.0,
    "nc2_equiangular_head": -1.0,
    "nc3_self_duality": -1.0,
}
LEAST_GROWTH = 1.1  # of the clock, for a slope against it


def configs(
    number: int,
    scale: Scale,
    data_root: str | None = None,
    seeds: Sequence[int] | None = None,
) -> list[TrainConfig]:
    """Return what is trained for a figure.

    Parameters
    ----------
    number
        A key of `FIGURES`.
    scale
        Below ``"paper"`` other data stands in for the paper's, so that a network may come once.
    data_root
        Folder of the data's files, see `load_dataset`.
    seeds
        Of every network, the seed fastest; those of the scale if None.

    Examples
    --------
    >>> [(config.net, config.data) for config in configs(1, "paper", seeds=[0])]
    [('resnet18', 'mnist'), ('resnet18', 'cifar10')]
    >>> [(config.net, config.data) for config in configs(1, "quick", seeds=[0])]
    [('resnet18', 'digits')]
    """
    found: list[TrainConfig] = []
    for net, data in FIGURES[number]:
        own = {"net": net, "data": STAND_INS[scale].get(data, data), "data_root": data_root}
        for seed in SEEDS[scale] if seeds is None else seeds:
            config = TrainConfig.from_dict(own | COMMON | SCALES[scale] | {"seed": seed})
            if config not in found:
                found.append(config)
    return found


def theory_clock(records: Sequence[Record]) -> NDArray[np.float64]:
    r"""Return -log L of each record, the largest so far, with L the mean training loss.

    The flow of the theory has log t = -log L up to a constant and to what is small beside it, so
    that a power of log t is one of -log L. Steps tell no time of the flow: how fast a network's
    features move depends on all of its layers.

    Parameters
    ----------
    records
        Of a run.

    Examples
    --------
    >>> theory_clock([{"train_loss": 1.0}, {"train_loss": 0.1}, {"train_loss": 0.2}]).round(3)
    array([-0.   ,  2.303,  2.303])
    """
    losses = np.array([record["train_loss"] for record in records])
    return np.maximum.accumulate(-np.log(losses))


def collapse_slope(records: Sequence[Record], key: str) -> float:
    """Return the exponent of an error in -log L, fitted from the first fit of all images on.

    Parameters
    ----------
    records
        Of a run. Those count at which the loss is the least so far: after a jump of the loss the
        network is not where the clock says.
    key
        Of the error, as in `ERRORS`.

    Returns
    -------
    float
        -1 for a fall like 1 / log t. NaN if fewer than three records count, or -log L grew by less
        than a tenth between them: then there is no slope to see.

    Examples
    --------
    >>> import math
    >>> losses = [math.exp(-t) for t in (1, 2, 4, 8)]
    >>> records = [{"train_loss": x, "accuracy": 1, "cdnv": 1 / -math.log(x)} for x in losses]
    >>> round(collapse_slope(records, "cdnv"), 3)
    -1.0
    """
    clock, first = theory_clock(records), first_right(records)
    counted = np.diff(clock, prepend=-np.inf) > 0
    counted[: len(records) if first is None else first] = False
    clock, errors = clock[counted], error_curve(records, key)[counted]
    if len(clock) < 3 or not clock[-1] >= LEAST_GROWTH * clock[0] > 0:
        return float("nan")
    return float(np.polyfit(np.log(clock), np.log(errors), 1)[0])


def first_right(records: Sequence[Record]) -> int | None:
    """Return where every training image was right for the first time; None if never."""
    return next((i for i, record in enumerate(records) if record["accuracy"] == 1), None)


def error_curve(records: Sequence[Record], key: str) -> NDArray[np.float64]:
    """Return an error of collapse in each record, a distance and not its square.

    Parameters
    ----------
    records
        Of a run.
    key
        As in `ERRORS`; of the trace ratio, the root.
    """
    values = np.array([record[key] for record in records], float)
    return np.sqrt(values) if key == "nc1_trace_ratio" else values

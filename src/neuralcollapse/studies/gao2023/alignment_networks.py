"""Figure 4 with real networks: fixed ETF heads, permuted and rotated, each from the same seeds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pandas as pd

from neuralcollapse.runs.record import Record
from neuralcollapse.studies.figure_job import SMALL, FigureJob, Scale
from neuralcollapse.studies.gao2023.alignment import Kind
from neuralcollapse.training import TrainConfig

KINDS: tuple[Kind, ...] = ("permutations", "rotations")
COMMON: dict[Scale, dict[str, Any]] = {
    # 9 heads x 4 seeds = 36 runs, of 6 minutes on one core.
    "small": {**SMALL, "epochs": 40, "batch_size": 64},
    # 9 heads x 3 seeds = 27 runs, of 1 minute where three of them and others share an H200. Such
    # images are fitted in 40 epochs; where some runs fit and others do not, one would see that and
    # not the alignment.
    "medium": {"per_class": 1000, "epochs": 40, "precision": "bf16"},
    "paper": {"epochs": 200},
}
SHARED: dict[str, Any] = {
    "net": "resnet18",
    "head": "etf",
    "head_bias": False,
    "batch_size": 128,
    "weight_decay": 5e-4,
}
CASES: dict[Scale, dict[str, dict[str, Any]]] = {
    "small": {"Fashion-MNIST": {"data": "fashion-mnist"}},
    "medium": {"Fashion-MNIST": {"data": "fashion-mnist"}},
    "paper": {"CIFAR-10": {"data": "cifar10"}, "CIFAR-100": {"data": "cifar100"}},
}
ALIGNMENTS: dict[Scale, int] = {"small": 5, "medium": 5, "paper": 10}
SEEDS: dict[Scale, tuple[int, ...]] = {
    "small": (0, 1, 2, 3),
    "medium": (0, 1, 2),
    "paper": (0, 1, 2, 3, 4),
}


def alignment_configs(
    kind: Kind,
    scale: Scale,
    case: str,
    data_root: str | None = None,
    seeds: Sequence[int] | None = None,
) -> list[TrainConfig]:
    """Return what a panel is made of: every alignment with every seed, the seed fastest.

    Permutations are of one Haar rotation, itself the first; it is the first of the rotations, too.

    Parameters
    ----------
    kind
        ``"permutations"`` or ``"rotations"``.
    scale
        ``"small"``, ``"medium"`` or ``"paper"``.
    case
        A key of `CASES`.
    data_root
        Folder of the data's files, see `load_dataset`.
    seeds
        Those of the scale if None.
    """
    numbers = range(ALIGNMENTS[scale])
    heads: list[dict[str, Any]] = (
        [{"head_seed": number} for number in numbers]
        if kind == "rotations"
        else [{"head_seed": 0, "head_permutation": number or None} for number in numbers]
    )
    shared = SHARED | COMMON[scale] | CASES[scale][case] | {"data_root": data_root}
    return [
        TrainConfig.from_dict(shared | head | {"seed": seed})
        for head in heads
        for seed in (SEEDS[scale] if seeds is None else seeds)
    ]


def alignment_table(
    scale: Scale, histories: Sequence[Sequence[Record]], seeds: Sequence[int] | None = None
) -> pd.DataFrame:
    """Return the ends of runs as `alignment_effects` takes them.

    A seed determines initial weights and order of the data together, so there is one order of it.

    Parameters
    ----------
    scale
        As in `alignment_configs`.
    histories
        Of its runs, in its order.
    seeds
        As there.

    Returns
    -------
    DataFrame
        One run per row: ``alignment``, ``seed``, ``order`` (0), ``value`` (test accuracy),
        ``converged`` (whether training accuracy is 1), ``train_accuracy``.
    """
    cells = itertools.product(range(ALIGNMENTS[scale]), SEEDS[scale] if seeds is None else seeds)
    rows = [
        (a, seed, 0, last["test_accuracy"], last["accuracy"] == 1, last["accuracy"])
        for (a, seed), (*_, last) in zip(cells, histories, strict=True)
    ]
    names = ["alignment", "seed", "order", "value", "converged", "train_accuracy"]
    return pd.DataFrame(rows, columns=names)


def run_networks(job: FigureJob) -> dict[tuple[Kind, str], pd.DataFrame]:
    """Train what Figure 4 shows at the scale of the job.

    Parameters
    ----------
    job
        Of the figure, not at the scale ``"quick"``.

    Returns
    -------
    dict of DataFrame
        From `alignment_table`, by kind and data.
    """
    scale = job.scale
    panels = {
        (kind, case): alignment_configs(kind, scale, case, job.data_root, job.seeds)
        for case in CASES[scale]
        for kind in KINDS
    }
    # The head that both kinds have is trained once.
    configs = list(dict.fromkeys(config for panel in panels.values() for config in panel))
    planned = job.planned(configs)
    # Measured at the end alone: a measurement takes as long as an epoch.
    histories = job.train(planned, measure_every=planned[0].epochs)
    found = dict(zip(configs, histories, strict=True))
    return {
        key: alignment_table(scale, [found[config] for config in panel], job.seeds)
        for key, panel in panels.items()
    }

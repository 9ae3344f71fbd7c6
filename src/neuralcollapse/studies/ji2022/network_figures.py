"""Figures 1, 3, 4 and 5: the four errors of collapse in networks trained without weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FormatStrFormatter,
    FuncFormatter,
    LogLocator,
    NullLocator,
)

from neuralcollapse.figure_style import BLUE, GREY, ORANGE, figure, label_ends, save
from neuralcollapse.report import interpolation_epoch
from neuralcollapse.runs.history import Record
from neuralcollapse.studies.figure_job import SMALL, FigureJob, Scale
from neuralcollapse.studies.ji2022.study import study
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
COMMON: dict[str, Any] = {"weight_decay": 0.0, "schedule": "constant", "batch_size": 128}
SCALES: dict[Scale, dict[str, Any]] = {
    "quick": {"width": 0.25, "epochs": 200, "lr": 0.02},
    "small": SMALL | {"epochs": 150, "lr": 0.05, "batch_size": 64, "test_per_class": 100},
    "medium": {"epochs": 60, "lr": 0.05, "precision": "bf16"},
    "paper": {"epochs": 300, "lr": 0.05, "precision": "bf16"},
}
# What stands in for the paper's data; other data is taken as it is.
STAND_INS: dict[Scale, dict[str, str]] = {
    "quick": dict.fromkeys(("mnist", "cifar10", "kmnist", "fashion-mnist"), "digits"),
    "small": {"mnist": "mnist-5k", "cifar10": "fashion-mnist", "kmnist": "mnist-5k"},
    "medium": dict.fromkeys(("mnist", "cifar10", "kmnist"), "fashion-mnist"),
    "paper": {},
}
SEEDS: dict[Scale, tuple[int, ...]] = {
    "quick": (0,),
    "small": (0, 1, 2),
    "medium": (0,),
    "paper": (0, 1, 2),
}
PANELS = {
    "(a) variation of norms": {
        "nc2_equinorm": ("class means", BLUE),
        "nc2_equinorm_head": ("classifier", ORANGE),
    },
    "(b) within-class variation": {"nc1_trace_ratio": ("features", BLUE)},
    "(c) cosines, from −1/(K−1)": {
        "nc2_equiangular": ("class means", BLUE),
        "nc2_equiangular_head": ("classifier", ORANGE),
    },
    "(d) classifier from means": {"nc3_self_duality": ("distance", BLUE)},
}
TICKS = (10, 30, 100, 300, 1_000, 3_000, 10_000, 100_000)


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
        Of the data's files.
    seeds
        Of every network, the seed fastest; those of the scale if None.

    Examples
    --------
    >>> [(config.net, config.data) for config in configs(1, "paper", seeds=[0])]
    [('resnet18', 'mnist'), ('resnet18', 'cifar10')]
    >>> [(config.net, config.data) for config in configs(1, "quick")]
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


def plot_networks(runs: dict[str, list[Record]], caption: str) -> Figure:
    """Draw the four panels of each network against the number of steps on a log log axis.

    Parameters
    ----------
    runs
        Histories by title: one is drawn two by two, more one row each.
    caption
        Below the figure: the settings.
    """
    rows, columns = (2, 2) if len(runs) == 1 else (len(runs), 4)
    with figure(rows, columns, 5.25 * columns, 0.8 + 3.2 * rows) as (drawing, panels):
        for first, (title, records) in zip(range(0, 4 * len(runs), 4), runs.items(), strict=True):
            four = panels[first : first + 4]
            for axes, (heading, curves) in zip(four, PANELS.items(), strict=True):
                _panel(axes, records, curves)
                axes.set_title(heading)
            four[0].set_ylabel(title)
        for axes in panels[-columns:]:
            axes.set_xlabel("steps, on a log log scale")
        drawing.supxlabel(fill(caption, 70 * columns), fontsize=8.5, color=GREY)
    return drawing


def _panel(axes: Axes, records: list[Record], curves: dict[str, tuple[str, str]]) -> None:
    steps = np.array([record["step"] for record in records])
    for key, (label, color) in curves.items():
        axes.plot(steps, [record[key] for record in records], color=color, label=label)
    axes.set_xscale("function", functions=(_log_log, _exp_exp))
    axes.set_xlim(steps[0], steps[-1])
    ticks = [tick for tick in TICKS if steps[0] <= tick <= steps[-1]]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{t:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_locator(NullLocator())
    reached = interpolation_epoch(records)
    if reached is not None:
        step = next(record["step"] for record in records if record["epoch"] == reached)
        axes.axvline(step, color=GREY, lw=0.9, ls=(0, (1, 2)), label="_100 %")
    label_ends(axes)


def _log_log(steps: Any) -> Any:
    return np.log(np.log(np.maximum(steps, 1.5)))


def _exp_exp(values: Any) -> Any:
    return np.exp(np.exp(values))


def draw(number: int, job: FigureJob) -> list[Path]:
    """Train the networks of a figure, and draw it."""
    trained = configs(number, job.scale, job.data_root, job.seeds)
    histories = job.train(trained)
    runs = {f"{c.net}, {c.data}": h for c, h in zip(trained, histories, strict=True)}
    drawing = plot_networks(runs, _caption(number, job.scale, trained, histories))
    return [save(drawing, job.folder / f"figure{number}_{job.scale}.png")]


def _caption(
    number: int, scale: Scale, trained: list[TrainConfig], histories: list[list[Record]]
) -> str:
    paper = " and ".join(f"{net} on {data}" for net, data in FIGURES[number])
    ends = "; ".join(
        f"{config.net} on {config.data}: {records[-1]['accuracy']:.2%} of the training images right"
        for config, records in zip(trained, histories, strict=True)
    )
    first = trained[0]
    ours = "" if scale == "paper" else f" Ours ({scale}): {first.data}, width × {first.width:g}."
    return (
        f"The paper: {paper}, without weight decay.{ours} Learning rate {first.lr:g}, momentum "
        f"{first.momentum:g}, batches of {first.batch_size}, {first.epochs} epochs, seed "
        f"{first.seed}. After the last: {ends}. Dotted: every training image right for the first "
        "time. The theory has all errors fall like powers of 1/log t: straight lines here."
    )


for _number in FIGURES:
    study.figure(_number)(partial(draw, _number))

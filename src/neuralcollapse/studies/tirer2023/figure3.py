"""Figure 3: what the weight decay of the head and that of the feature layers do to collapse."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator
from numpy.typing import NDArray
from rich.progress import track

from neuralcollapse.figure_style import BLUE, GREY, ORANGE, figure, label_ends, save
from neuralcollapse.files import write_npz
from neuralcollapse.measurement import measure
from neuralcollapse.metrics.presets import preset
from neuralcollapse.studies.tirer2023.study import study
from neuralcollapse.training import TrainConfig, build_network, load_dataset, sgd_epochs
from neuralcollapse.training.networks import MLP_UNITS

DECAYS = {  # name: factors on the weight decay of the feature layers and of the head
    "baseline": (1.0, 1.0),
    "head × 2": (1.0, 2.0),
    "head 0": (1.0, 0.0),
    "features × 2": (2.0, 1.0),
    "features 0": (0.0, 1.0),
}
STYLES: dict[str, dict[str, Any]] = {
    "baseline": {"color": "black", "lw": 2.2},
    "head × 2": {"color": ORANGE},
    "head 0": {"color": ORANGE, "ls": (0, (2, 1.2))},
    "features × 2": {"color": BLUE},
    "features 0": {"color": BLUE, "ls": (0, (2, 1.2))},
}
# The weight decay times the sum of all learning rates is that of a run of the paper's 120 epochs
# of 391 steps at 5e-4: fewer and smaller epochs need more of it.
CONFIG = TrainConfig(width=0.25, weight_decay=8.5e-3, batch_size=64, epochs=120, schedule="step")
LOSSES = {"mse": "Squared error, no bias", "ce": "Cross-entropy, bias"}
SEEDS = (0, 1, 2)
MEASURE_EVERY = 5

Record = dict[str, NDArray[np.float64]]


def record_decays(
    data: str = "digits", config: TrainConfig = CONFIG, progress: bool = False
) -> Record:
    """Train with each weight decay and loss, and measure NC1 and NC2 every few epochs.

    Parameters
    ----------
    data
        See `load_dataset`.
    config
        The baseline; its loss, bias, seed and decays are varied.
    progress
        Show a progress bar.

    Returns
    -------
    dict of arrays
        ``epochs`` (T,); ``{loss}_{metric}`` (decays, seeds, T), in the order of `DECAYS`.
    """
    images = load_dataset(data, config.data_root)
    runs = list(itertools.product(LOSSES, DECAYS.values(), SEEDS))
    rows: dict[str, list[list[float]]] = {}
    epochs: list[int] = []
    for loss, (features, head), seed in track(
        runs, "training", disable=not progress, transient=True
    ):
        own = TrainConfig.from_dict(
            config.to_dict()
            | {
                "loss": loss,
                "head_bias": loss == "ce",
                "weight_decay": features * config.weight_decay,
                "head_weight_decay": head * config.weight_decay,
                "seed": seed,
            }
        )
        network = build_network(
            own.net,
            images.input_shape,
            images.num_classes,
            width=own.width,
            head_bias=own.head_bias,
            seed=own.seed,
        )
        curve, epochs = [], []
        for epoch in sgd_epochs(network, images.train, own):
            if epoch.number % MEASURE_EVERY == 0 or epoch.number == own.epochs:
                report = measure(network, [images.train.tensors], progress=False)
                curve.append(
                    preset("tirer2023", report.train.moments) | {"accuracy": report["accuracy"]}
                )
                epochs.append(epoch.number)
        for name in curve[0]:
            rows.setdefault(f"{loss}_{name}", []).append([point[name] for point in curve])
    shape = (len(DECAYS), len(SEEDS), len(epochs))
    curves = {name: np.reshape(values, shape) for name, values in rows.items()}
    return {"epochs": np.array(epochs, float), **curves}


def final_effects(record: Record, loss: str, metric: str) -> dict[str, tuple[float, float]]:
    """Return by what factor each decay changes a metric's last value: (median, spread).

    The spread is the largest over the smallest factor of the seeds.

    Parameters
    ----------
    record
        From `record_decays`.
    loss, metric
        ``"mse"`` or ``"ce"``; ``"nc1_pinv"``, ``"nc1_trace_ratio"`` or ``"nc2_etf"``.
    """
    last = record[f"{loss}_{metric}"][:, :, -1]
    factors = last[1:] / last[0]
    names = [name for name in DECAYS if name != "baseline"]
    return {
        name: (float(np.median(row)), float(row.max() / row.min()))
        for name, row in zip(names, factors, strict=True)
    }


def plot_decays(record: Record, caption: str) -> Figure:
    """Draw NC1 and NC2 against epochs, squared error above, cross-entropy below.

    Parameters
    ----------
    record
        From `record_decays`.
    caption
        Below the figure: the settings.
    """
    with figure(2, 2, 10.5, 7.6) as (drawing, panels):
        places = itertools.product(LOSSES.items(), (("nc1_pinv", "NC1"), ("nc2_etf", "NC2")))
        for axes, ((loss, title), (metric, name)) in zip(panels, places, strict=True):
            _curves(axes, record["epochs"], record[f"{loss}_{metric}"])
            axes.set_title(f"{title}: {name}")
        for axes in panels[2:]:
            axes.set_xlabel("epoch")
        drawing.supxlabel(caption, fontsize=8.5, color=GREY)
    return drawing


def _curves(axes: Axes, epochs: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    for name, seeds in zip(DECAYS, values, strict=True):
        axes.plot(epochs, np.median(seeds, 0), label=name, **STYLES[name])
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0, epochs[-1])
    label_ends(axes)


@study.figure(3)
def draw(folder: Path, progress: bool = False) -> list[Path]:
    """Write the records and the figure, on the digits."""
    record = record_decays(progress=progress)
    path = write_npz(folder / "figure3.npz", record)
    caption = (
        "The paper trains ResNet18 on CIFAR-10 with weight decay 5e-4. Ours: digits (8 × 8 "
        f"pixels), a perceptron of three layers of {MLP_UNITS * CONFIG.width:g} with batch norm, "
        f"batches of {CONFIG.batch_size},\nbaseline weight decay {CONFIG.weight_decay:g}, so "
        "that its product with the sum of all learning rates is the paper's; learning rate 0.05, "
        f"divided by 10 every 40 epochs; median of {len(SEEDS)} seeds.\n{_effects(record)}"
    )
    return [path, save(plot_decays(record, caption), folder / "figure3.png")]


def _effects(record: Record) -> str:
    """Say by what factor each decay changed NC1 at the end."""
    sentences = []
    for loss, title in LOSSES.items():
        factors = final_effects(record, loss, "nc1_pinv").items()
        listed = ", ".join(f"{name}: {factor:.2g}" for name, (factor, _) in factors)
        sentences.append(f"{title.partition(',')[0]}, last NC1 over the baseline's: {listed}.")
    return "\n".join(sentences)

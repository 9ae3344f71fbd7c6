"""Figure 2: the features of deeper layers are more collapsed, trained one by one or at once."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator
from numpy.typing import NDArray
from rich.progress import track

from neuralcollapse.figure_style import BLUE, ORANGE, captioned, figure, label_ends
from neuralcollapse.npz_files import write_npz
from neuralcollapse.studies.figure_job import SEEDS, FigureJob, Scale
from neuralcollapse.studies.panels import band, drawn_by_band, share_limits
from neuralcollapse.studies.sweep import run_name
from neuralcollapse.studies.tirer2023.layerwise import (
    collapse_by_depth,
    end_to_end_features,
    layerwise_features,
)
from neuralcollapse.studies.tirer2023.study import study
from neuralcollapse.training import TrainConfig, load_dataset
from neuralcollapse.training.networks.mlp import MLP_UNITS
from neuralcollapse.training.networks.width import scaled

WAYS = {"layerwise": layerwise_features, "end_to_end": end_to_end_features}
CURVES = {"nc1_pinv": ("NC1", BLUE), "nc1_trace_ratio": ("ÑC1", ORANGE)}
COMMON: dict[str, Any] = {"loss": "mse", "head_bias": False, "lr_schedule": "step"}
SCALES: dict[Scale, dict[str, Any]] = {
    "quick": {"width": 0.25, "weight_decay": 8.5e-3, "batch_size": 64, "epochs": 30},
    "small": {
        "data": "fashion-mnist",
        "per_class": 200,
        "weight_decay": 5e-3,
        "batch_size": 64,
        "epochs": 60,
    },
    "medium": {"data": "fashion-mnist", "weight_decay": 1e-3, "batch_size": 128, "epochs": 20},
    "paper": {"data": "cifar10", "weight_decay": 5e-4, "batch_size": 128, "epochs": 100},
}
DEPTH = 10

Record = dict[str, NDArray[np.float64]]


def record_depths(
    config: TrainConfig,
    depth: int,
    folder: Path,
    seeds: Sequence[int],
    job: FigureJob,
) -> Record:
    """Train a perceptron layer by layer and end to end, and measure every hidden layer.

    Parameters
    ----------
    config
        Of each training, but for the seed. Every stage has all of the epochs.
    depth
        Number of hidden layers.
    folder
        Keeps what is finished, and is looked at before anything is trained.
    seeds
        Of both ways of training.
    job
        Whether to show a progress bar, and to train what is not there.

    Returns
    -------
    dict of arrays
        ``{way}_{metric}`` (seeds, depth), way ``layerwise`` or ``end_to_end``.

    Raises
    ------
    NeuralCollapseError
        If something is not there, and not to be trained.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = load_dataset(config.data, config.data_root, per_class=config.per_class)
    runs = list(itertools.product(WAYS, seeds))
    rows: dict[str, list[NDArray[np.float64]]] = {}
    for way, seed in track(runs, "training", disable=not job.progress, transient=True):
        own = replace(config, seed=seed)
        file = folder / f"{way}-depth{depth}-{run_name(own)}.npz"
        if not file.exists():
            job.require_training(f"no {file}")
            features = WAYS[way](images, depth, own, device)
            labels = images.train.tensors[1].to(device)
            write_npz(file, collapse_by_depth(features, labels, images.num_classes))
        with np.load(file) as kept:
            for name, values in kept.items():
                rows.setdefault(f"{way}_{name}", []).append(values)
    return {name: np.array(values) for name, values in rows.items()}


def plot_depths(record: Record) -> Figure:
    """Draw NC1 and NC1~ against depth, for either way of training.

    Parameters
    ----------
    record
        From `record_depths`.
    """
    titles = {"layerwise": "Layer by layer, the earlier ones fixed", "end_to_end": "End to end"}
    with figure(1, 2, 10.5, 4.2) as (drawing, panels):
        for axes, (way, title) in zip(panels, titles.items(), strict=True):
            for name, (label, color) in CURVES.items():
                values = record[f"{way}_{name}"]
                depths = np.arange(1, values.shape[1] + 1)
                band(axes, depths, values, color, marker=".", ms=7, label=label)
            axes.set_title(title)
            axes.set_xlabel("depth of the hidden layer")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_yscale("log")
        share_limits(panels)
        for axes in panels:
            axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            label_ends(axes)
        panels[0].set_ylabel("collapse of the training features")
    return drawing


@study.figure(2)
def draw(job: FigureJob) -> list[Path]:
    """Train the perceptrons, and write the records and the figure."""
    config = TrainConfig.from_dict({"data_root": job.data_root} | COMMON | SCALES[job.scale])
    [config], seeds = job.planned([config]), job.seeds_or(SEEDS[job.scale])
    folder = job.folder / "runs" if job.kept is None else job.kept
    for made in (job.folder / "runs").glob(f"*-depth{DEPTH}-*.npz"):  # by a call without kept
        if not (folder / made.name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(made, folder)
    record = record_depths(config, DEPTH, folder, seeds, job)
    stem = job.folder / f"figure2_{job.scale}"
    path = write_npz(stem.with_suffix(".npz"), record)
    caption = (
        f"The paper trains on CIFAR-10. Ours: {config.data}, width "
        f"{scaled(MLP_UNITS, config.width)}, batch norm, squared error without bias, "
        f"{config.epochs} epochs (layer by layer: each), weight decay {config.weight_decay:g}, "
        f"learning rate {config.lr:g} falling by 10 at each third; line: "
        f"{drawn_by_band(len(seeds))}. NC1 = tr(Σ_W Σ_B⁺)/K, ÑC1 = tr Σ_W / tr Σ_B."
    )
    return [path, *captioned(plot_depths(record), stem.with_suffix(".png"), caption)]

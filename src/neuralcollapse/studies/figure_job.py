"""A figure to be drawn: where its files go, at what scale, and by what its networks are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.runs.record import Record
from neuralcollapse.studies.kept_runs import keep_run, kept_path, read_kept_run
from neuralcollapse.studies.sweep import run_name, sweep
from neuralcollapse.studies.sweep.runs import SweepRun
from neuralcollapse.training import TrainConfig

Scale = Literal["quick", "small", "medium", "paper"]
# Of the networks at the scale small: 2,000 images, a quarter of the channels.
SMALL: dict[str, Any] = {"width": 0.25, "per_class": 200}


@dataclass(frozen=True)
class FigureJob:
    """What a figure's function is given. Figures of the theory's models need the folder alone.

    Attributes
    ----------
    folder
        Gets the figure, the records it is drawn from, and the runs in ``runs/``.
    scale
        ``"quick"``: minutes on two cores, on data that is always there. ``"small"``: 2,000 real
        images of 28x28 pixels, an hour or so on two cores. ``"medium"``: one GPU, Fashion-MNIST.
        ``"paper"``: the paper's own networks and data.
    progress
        Show progress bars and tables.
    data_root
        Folder of the data's files, see `load_dataset`.
    workers
        Further arguments of `sweep`: engine, workers, address, gpus_per_run, retry.
    seeds
        Of the networks, instead of those of the scale.
    kept
        Folder of runs kept for good: they are not trained again, and what finishes is added.
    training
        Whether to train what is neither there nor kept.

    Raises
    ------
    NeuralCollapseError
        If the scale is unknown.
    """

    folder: Path
    scale: Scale = "quick"
    progress: bool = False
    data_root: str | None = None
    workers: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    kept: Path | None = None
    training: bool = True

    def __post_init__(self) -> None:
        if self.scale not in get_args(Scale):
            known = ", ".join(get_args(Scale))
            raise NeuralCollapseError("scale", f"one of {known}", repr(self.scale), "choose one")

    def seeds_or(self, usual: Sequence[int]) -> tuple[int, ...]:
        """Return the seeds asked for, or the usual ones of a figure."""
        return tuple(usual) if self.seeds is None else self.seeds

    def train(self, configs: Sequence[TrainConfig], **options: Any) -> list[list[Record]]:
        """Train the networks of the figure; what earlier calls have finished is not trained again.

        Whatever their order, first all at the first seed, so that a study that is stopped has
        whole seeds.

        Parameters
        ----------
        configs
            One a network.
        options
            Further arguments of `training.train`.

        Returns
        -------
        list of list of dict
            The history of each, in the order of `configs`.

        Raises
        ------
        NeuralCollapseError
            If a run failed, and the message has its error; or is missing, and not to be trained.
            What is finished is kept.
        """
        due = sorted((c for c in configs if not self._kept_path(c).exists()), key=lambda c: c.seed)
        if due and self.training:
            if self.scale == "small":
                options = {"channels_last": True} | options
            report = sweep(due, self._runs, progress=self.progress, **self.workers, **options)
            if report.failed:
                first = report.failed[0]
                raise NeuralCollapseError(
                    "runs",
                    "every network of the figure to be trained",
                    f"{len(report.failed)} of {len(report.runs)} failed; {first.folder}: "
                    f"{first.error}",
                    "correct the cause and call again with retry: finished runs are kept",
                )
        runs = [SweepRun(config, self._runs / run_name(config)) for config in due]
        missing = [run for run in runs if run.state != "finished"]
        if self.kept is not None:
            for run in runs:
                if run not in missing:
                    keep_run(self.kept, run)
        if missing:
            raise NeuralCollapseError(
                "runs",
                f"all {len(configs)} networks of the figure trained",
                f"{len(missing)} of them missing, such as {missing[0].folder}",
                "train them, or draw fewer seeds",
            )
        trained = {run.config: run.records for run in runs}
        return [
            trained[c] if c in trained else read_kept_run(self._kept_path(c))[1] for c in configs
        ]

    @property
    def _runs(self) -> Path:
        return self.folder / "runs"

    def _kept_path(self, config: TrainConfig) -> Path:
        return kept_path(self.folder if self.kept is None else self.kept, config)

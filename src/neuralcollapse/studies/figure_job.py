"""A figure to be drawn: where its files go, at what scale, and by what its networks are trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.runs.history import Record
from neuralcollapse.studies.sweep import sweep
from neuralcollapse.training import TrainConfig

Scale = Literal["quick", "medium", "paper"]


@dataclass(frozen=True)
class FigureJob:
    """What a figure's function is given. Figures of the theory's models need the folder alone.

    Attributes
    ----------
    folder
        Gets the figure, the records it is drawn from, and the runs in ``runs/``.
    scale
        ``"quick"``: minutes on two cores, on data that is always there. ``"medium"``: one GPU,
        Fashion-MNIST. ``"paper"``: the paper's own networks and data.
    progress
        Show progress bars and tables.
    data_root
        Folder of the data's files, see `load_dataset`.
    workers
        Further arguments of `sweep`: engine, workers, address, gpus_per_run, retry.

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

    def __post_init__(self) -> None:
        if self.scale not in get_args(Scale):
            known = ", ".join(get_args(Scale))
            raise NeuralCollapseError("scale", f"one of {known}", repr(self.scale), "choose one")

    def train(self, configs: Iterable[TrainConfig], **options: Any) -> list[list[Record]]:
        """Train the networks of the figure; what earlier calls have finished is not trained again.

        Parameters
        ----------
        configs
            One a network.
        options
            Further arguments of `training.train`.

        Returns
        -------
        list of list of dict
            The history of each.

        Raises
        ------
        NeuralCollapseError
            If a run failed; the message has its error. The others are kept.
        """
        report = sweep(
            configs, self.folder / "runs", progress=self.progress, **self.workers, **options
        )
        if report.failed:
            first = report.failed[0]
            raise NeuralCollapseError(
                "runs",
                "every network of the figure to be trained",
                f"{len(report.failed)} of {len(report.runs)} failed; {first.folder}: {first.error}",
                "correct the cause and call again with retry: finished runs are kept",
            )
        return [run.records for run in report.runs]

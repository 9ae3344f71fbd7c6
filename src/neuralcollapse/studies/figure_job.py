"""A figure to draw: where its files go, at what scale, and how its networks are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal, get_args

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.runs.record import Record
from neuralcollapse.studies.kept_runs import keep_run, read_kept_run
from neuralcollapse.studies.sweep import run_name, sweep
from neuralcollapse.studies.sweep.runs import SweepRun
from neuralcollapse.training import TrainConfig
from neuralcollapse.validation import check_choice

Scale = Literal["quick", "small", "medium", "paper"]
ALL_SCALES: tuple[Scale, ...] = get_args(Scale)
# Networks at the scale small: 2,000 images, a quarter of the channels.
SMALL: dict[str, Any] = {"width": 0.25, "per_class": 200}
# Seeds of most figures with networks.
SEEDS: dict[Scale, tuple[int, ...]] = {
    "quick": (0, 1, 2),
    "small": (0, 1, 2),
    "medium": (0,),
    "paper": (0, 1, 2),
}

Judge = Callable[[SweepRun], dict[str, float]]


@dataclass(frozen=True)
class FigureJob:
    """How a figure is to be drawn. Figures of the theory's models need the folder alone.

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
        Seeds of the networks, in place of those of the scale.
    kept
        Folder of runs kept for good, without weights. Runs found there are not trained again, and
        runs that finish are added. ``kept/`` inside `folder` if None.
    training
        Whether to train the networks whose runs are neither in the folder nor kept.
    settings
        Values of `TrainConfig` that replace the figure's own in every network.
    dry
        Train a tiny version of each network for two steps on a few digits, to see that all runs.
    text
        File of text for the language models; Python's documentation strings if None.

    Raises
    ------
    NeuralCollapseError
        If the scale is unknown, or there is no folder `data_root`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from neuralcollapse.studies import FigureJob
    >>> job = FigureJob(Path("figures"), scale="small", seeds=(0, 1))
    >>> job.seeds_or([0, 1, 2, 3])
    (0, 1)
    """

    folder: Path
    scale: Scale = "quick"
    progress: bool = False
    data_root: str | None = None
    workers: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    kept: Path | None = None
    training: bool = True
    dry: bool = False
    text: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("scale", self.scale, ALL_SCALES)
        if self.data_root is not None and not Path(self.data_root).is_dir():
            got = f"no folder {self.data_root}"
            remedy = "check the name, or leave it out where no data of files is read"
            raise NeuralCollapseError("data_root", "the folder of the data's files", got, remedy)

    def seeds_or(self, usual: Sequence[int]) -> tuple[int, ...]:
        """Return the seeds asked for, or the usual ones of a figure."""
        return tuple(usual) if self.seeds is None else self.seeds

    def planned(self, configs: Sequence[TrainConfig]) -> list[TrainConfig]:
        """Return a figure's configurations with the job's settings, of two steps if it is dry.

        Raises
        ------
        NeuralCollapseError
            If a setting is one by which the networks of the figure differ.
        """
        given = [config.to_dict() for config in configs]
        for name, value in self.settings.items():
            if len({repr(config.get(name)) for config in given}) > 1:
                expected = "what is the same in all networks of the figure"
                got = f"{name}={value}, by which they differ"
                raise NeuralCollapseError("settings", expected, got, f"leave {name} out")
        planned = [TrainConfig.from_dict(config | dict(self.settings)) for config in given]
        return [_tiny(config) for config in planned] if self.dry else planned

    def require_training(self, missing: str) -> None:
        """Refuse to train runs that are missing, if the job only draws.

        Raises
        ------
        NeuralCollapseError
            If nothing is to be trained.
        """
        if not self.training:
            expected = "networks that are trained already, where nothing is to be trained"
            raise NeuralCollapseError("runs", expected, missing, "train them: leave out draw-only")

    def train(self, configs: Sequence[TrainConfig], **options: Any) -> list[list[Record]]:
        """Train the networks of the figure; what earlier calls have finished is not trained again.

        All networks of the first seed come first, whatever the order of `configs`, so that a study
        that is stopped has complete seeds.

        Parameters
        ----------
        configs
            One for each network, as `planned` returns them.
        options
            Further arguments of `training.train`.

        Returns
        -------
        list of list of dict
            The history of each, in the order of `configs`.

        Raises
        ------
        NeuralCollapseError
            If a folder cannot be written, before anything is trained; or a run failed, with its
            error in the message, or is missing although nothing is to be trained. Finished runs are
            kept.
        """
        return [records for _, records in self._finished(configs, None, options)]

    def train_and_judge(
        self, configs: Sequence[TrainConfig], judge: Judge, **options: Any
    ) -> tuple[list[list[Record]], list[dict[str, float]]]:
        """Train as `train` does, and also return what a function says of each finished run.

        Parameters
        ----------
        configs, options
            As in `train`.
        judge
            Takes a finished run with its weights; returns numbers by name, which are kept with it.
        """
        found = self._finished(configs, judge, options)
        return [records for _, records in found], [made["outcomes"] for made, _ in found]

    def _finished(
        self, configs: Sequence[TrainConfig], judge: Judge | None, options: dict[str, Any]
    ) -> list[tuple[dict[str, Any], list[Record]]]:
        """Train what is neither there nor kept, and return how each was made and its records."""
        missing = [c for c in dict.fromkeys(configs) if not self._kept_path(c).exists()]
        due = sorted(missing, key=lambda config: config.seed)
        if due and self.training:
            _require_writable("kept", self._kept)
            _require_writable("folder", self.folder)
            # A step of ResNet18 takes a third of the time on an H200 (bfloat16), four fifths on a
            # processor; the networks of the scale quick are too small to gain.
            options = {"channels_last": self.scale != "quick"} | options
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
        for run in runs:
            if run.state == "finished":
                keep_run(self._kept_path(run.config), run, None if judge is None else judge(run))
        left = [run for run in runs if run.state != "finished"]
        if left:
            expected = f"all {len(configs)} networks of the figure trained"
            got = f"{len(left)} of them missing, such as {left[0].folder}"
            raise NeuralCollapseError("runs", expected, got, "train them, or draw fewer seeds")
        return [read_kept_run(self._kept_path(config)) for config in configs]

    @property
    def _runs(self) -> Path:
        return self.folder / "runs"

    def _kept_path(self, config: TrainConfig) -> Path:
        # The same run on another machine may have its data elsewhere.
        name = run_name(replace(config, data_root=None))
        return self._kept / f"{name}.jsonl.gz"

    @property
    def _kept(self) -> Path:
        return self.kept or self.folder / "kept"


def _require_writable(argument: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        got, remedy = f"{folder}: {error.strerror}", "choose another before networks are trained"
        raise NeuralCollapseError(argument, "a folder that can be written", got, remedy) from error


def _tiny(config: TrainConfig) -> TrainConfig:
    """Return the configuration of two steps on a few digits."""
    return replace(
        config, data="digits", per_class=2, test_per_class=2, width=1 / 16, batch_size=10, epochs=1,
        imbalance=1.0, precision="32",
    )  # fmt: skip

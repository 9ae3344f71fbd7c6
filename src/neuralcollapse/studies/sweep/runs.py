"""One run of a sweep, as its folder tells it: waiting, begun, finished or failed."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import read_json, write_json
from neuralcollapse.plain_text import plain
from neuralcollapse.runs.folder import FolderInUseError
from neuralcollapse.runs.record import Record
from neuralcollapse.studies.sweep.parent import SECONDS, ending_with
from neuralcollapse.training import DATASETS, ImageData, TrainConfig, train
from neuralcollapse.training.run_folder import TrainingFolder

ORPHANS = 5  # tries, by which time the workers of a killed sweep have ended
State = Literal["waiting", "begun", "finished", "failed"]


@dataclass(frozen=True)
class SweepRun:
    """A run and its folder, which alone holds its state: any process may look.

    Attributes
    ----------
    config
        What is trained.
    folder
        Of the run.

    Examples
    --------
    >>> from pathlib import Path
    >>> from neuralcollapse.studies.sweep.runs import SweepRun
    >>> from neuralcollapse.training import TrainConfig
    >>> SweepRun(TrainConfig(epochs=3), Path("none/seed-0")).state
    'waiting'
    """

    config: TrainConfig
    folder: Path

    @property
    def state(self) -> State:
        """Waiting, begun (perhaps in an earlier sweep), finished, or failed."""
        if self._failure.exists():
            return "failed"
        folder = TrainingFolder(self.folder)
        try:
            if folder.finished and self.records:
                return "finished"
        except NeuralCollapseError:
            return "failed"
        return "begun" if folder.history.exists() else "waiting"

    @property
    def error(self) -> str | None:
        """Type and message of what ended the run, None if it has not failed."""
        try:
            if self._failure.exists():
                return plain(read_json(self._failure).get("error"))
            self.records  # noqa: B018 - a history that cannot be read is a failure, too
        except NeuralCollapseError as error:
            return str(error)
        return None

    @property
    def records(self) -> list[Record]:
        """The measurements so far, none if there are none."""
        return TrainingFolder(self.folder).records()

    @property
    def last(self) -> Record:
        """The last measurement; empty if there is none, or the run has failed."""
        return {} if self.state == "failed" else dict(*self.records[-1:])

    def forget_failure(self) -> None:
        """Let the run begin again, from its last checkpoint if it has one."""
        self._failure.unlink(missing_ok=True)

    def work(
        self,
        threads: int,
        options: dict[str, Any],
        parent: int | None = None,
        datasets: Mapping[str, Callable[[Path | None], ImageData]] | None = None,
    ) -> None:
        """Train to the end, from the last checkpoint if there is one; a failure is written down.

        A run that another process works on is left to it, unless that ends within seconds, as the
        workers of a killed sweep do.

        Parameters
        ----------
        threads
            Threads of torch for this process, one of several on the machine.
        options
            Further arguments of `train`.
        parent
            Process number of the sweep, with which this process ends.
        datasets
            Those that the process calling `sweep` had added to `DATASETS`.
        """
        DATASETS.update(datasets or {})
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with ending_with(parent):
                self._train(options)
        except Exception as error:  # told as the run's failure, with its traceback
            report = {
                "error": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc(),
            }
            write_json(self._failure, report)
        finally:
            torch.set_num_threads(before)

    def _train(self, options: dict[str, Any]) -> None:
        """Train; try again for a while if the folder is in use, then leave it to its user."""
        for waited in range(ORPHANS):
            with suppress(FolderInUseError):
                train(self.config, self.folder, resume=True, progress=False, **options)
                return
            if waited + 1 < ORPHANS:
                time.sleep(SECONDS)

    @property
    def _failure(self) -> Path:
        return self.folder / "failure.json"

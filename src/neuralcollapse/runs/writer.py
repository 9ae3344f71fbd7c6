"""RunWriter: the records of a run that somebody else trains, in a folder that loses nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.runs.alarms.situation import CollapseWarning
from neuralcollapse.runs.folder import RunFolder, require_one
from neuralcollapse.runs.record import Record


class RunWriter:
    """Write what is measured of a run that somebody else trains.

    A folder with a run in it is refused, unless that is to be continued or overwritten, as by
    `train`. After that, nothing ends the training: while the disk is full, or another
    process writes, records wait in memory, a warning says so, and the next one tries again.

    Parameters
    ----------
    path
        Folder of the run, or its history.jsonl.
    resume
        Go on with the run that is there.
    overwrite
        Replace the run that is there.

    Attributes
    ----------
    folder : RunFolder
        The folder.
    resume : bool
        As given, until `open`.

    Raises
    ------
    NeuralCollapseError
        If resume and overwrite are both asked for, or the path is a file of another name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     writer = RunWriter(folder)
    ...     earlier = writer.open({"config": {"lr": 0.1}})
    ...     writer.add({"epoch": 1, "nc1_pinv": 0.5})
    ...     print(earlier, RunFolder(folder).records())
    [] [{'epoch': 1, 'nc1_pinv': 0.5}]
    """

    def __init__(self, path: str | Path, resume: bool = False, overwrite: bool = False) -> None:
        path = Path(path)
        if path.name == "history.jsonl":
            path = path.parent
        if path.suffix == ".jsonl":
            raise NeuralCollapseError(
                "history", "the folder of a run", f"the file {path}", "pass a folder"
            )
        require_one(resume, overwrite)
        self.folder = RunFolder(path, "history")
        self.resume, self._overwrite = resume, overwrite
        self._size: int | None = None  # of the history, as we left it
        self._waiting: list[tuple[Record, Callable[[], None] | None]] = []
        self._warned = False
        self._known: Sequence[Record] | None = None  # records of a checkpoint to go on from

    @property
    def opened(self) -> bool:
        """Whether the folder is ours to write to."""
        return self._size is not None

    def go_back(self, records: Sequence[Record]) -> None:
        """Go on from a checkpoint when the folder is opened next: later records are made again.

        Parameters
        ----------
        records
            Those that the checkpoint knows, at least one.
        """
        self.resume, self._known, self._size = True, records, None

    def open(self, description: Mapping[str, Any]) -> list[Record]:
        """Take the folder, and return the records of the run that is continued.

        Parameters
        ----------
        description
            What config.json is to say of the run, ready for JSON.

        Raises
        ------
        NeuralCollapseError
            If there is a run and neither resume nor overwrite was asked for, a file there is
            another's, the folder cannot be written, or its records are not those of the
            checkpoint.
        """
        with self.folder.locked():
            if self.resume and self.folder.history_bytes():
                self.folder.require_ours()
                if self._known is not None:
                    self.folder.go_back(self._known)
                self.folder.describe(description)
            else:
                self.folder.start(description, self._overwrite)
            self._size = self.folder.history_bytes()
            return self.folder.records()

    def add(
        self,
        record: Record,
        report: CollapseReport | None = None,
        before: ClassMoments | None = None,
    ) -> None:
        """Append a record, and write the geometry of its measurement if there is one to keep.

        Parameters
        ----------
        record
            With its ``epoch``.
        report
            What was measured, if its geometry is to be kept.
        before
            Moments of the layer before, to be kept with it.
        """
        keep = None
        if report is not None:
            keep = partial(self.folder.keep_geometry, int(record["epoch"]), report, before)
        self._waiting.append((record, keep))
        try:
            with self.folder.locked():
                self._write()
        except NeuralCollapseError as error:
            if not self._warned:
                told = f"records wait in memory, the next measurement tries again: {error}"
                warnings.warn(told, CollapseWarning, stacklevel=3)
            self._warned = True

    def _write(self) -> None:
        if self.folder.history_bytes() != self._size:
            expected = f"{self.folder.history} as it was left"
            got = "one that another process has written to"
            raise NeuralCollapseError("history", expected, got, "give each run a folder of its own")
        while self._waiting:
            record, keep = self._waiting[0]
            self.folder.append(record)
            self._size = self.folder.history_bytes()
            self._waiting.pop(0)
            if keep is not None:
                keep()
        self._warned = False

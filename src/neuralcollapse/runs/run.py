"""A run as its folder holds it: settings, history, snapshots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import read_json
from neuralcollapse.runs.history import read_history
from neuralcollapse.runs.record import Record, checked_record
from neuralcollapse.runs.snapshot_files import read_snapshots
from neuralcollapse.runs.snapshots import Snapshot


@dataclass(frozen=True, eq=False)
class Run:
    """What one training run left behind.

    Attributes
    ----------
    name
        To tell it from the others on the page.
    records
        Of the history, at least one.
    snapshots
        In order of epochs; empty if none was taken.
    provenance
        The config.json: configuration, versions, threads; empty if there is none.

    Examples
    --------
    >>> from neuralcollapse.runs import Run
    >>> run = Run("mine", [{"epoch": 1, "num_classes": 3}], provenance={"config": {"lr": 0.1}})
    >>> run.class_names, run.config
    (['0', '1', '2'], {'lr': 0.1})
    """

    name: str
    records: list[Record]
    snapshots: list[Snapshot] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def class_names(self) -> list[str]:
        """One name per class; numbers if no snapshot has names, none if nothing counts classes."""
        if self.snapshots:
            return self.snapshots[-1].class_names
        return [str(k) for k in range(int(self.records[-1].get("num_classes", 0)))]

    @property
    def config(self) -> dict[str, Any]:
        """The configuration alone."""
        config = self.provenance.get("config", {})
        return config if isinstance(config, dict) else {}


def read_run(folder: str | Path, name: str | None = None) -> Run:
    """Read the folder of a run.

    Parameters
    ----------
    folder
        With a history.jsonl; config.json and snapshots are used if they are there.
    name
        To call it on the page; the folder's own if omitted.

    Raises
    ------
    NeuralCollapseError
        If there is no such folder or history, or a file of it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from neuralcollapse.runs import append_record, read_run
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     append_record(f"{folder}/history.jsonl", {"epoch": 1, "nc1_pinv": 0.5})
    ...     run = read_run(folder, "mine")
    >>> run.name, run.records[-1]["nc1_pinv"]
    ('mine', 0.5)
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NeuralCollapseError(
            "run", "the folder of a run", f"no folder {folder}", "pass what training wrote to"
        )
    records = read_history(folder)
    for number, record in enumerate(records, 1):
        checked_record(record, f"{folder / 'history.jsonl'}, line {number}")
    config = folder / "config.json"
    return Run(
        name or folder.resolve().name,
        records,
        read_snapshots(folder),
        read_json(config) if config.is_file() else {},
    )


def read_runs(folders: Iterable[str | Path]) -> list[Run]:
    """Read several runs to be shown together.

    Parameters
    ----------
    folders
        At least one, of runs on the same classes. Runs whose folders have the same name are told
        apart by the folder above.

    Raises
    ------
    NeuralCollapseError
        If there is none, one cannot be read, one is given twice, or the runs have other classes.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from neuralcollapse.runs import append_record, read_runs
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     for name in ("seed-0", "seed-1"):
    ...         Path(parent, name).mkdir()
    ...         append_record(f"{parent}/{name}/history.jsonl", {"epoch": 1, "nc1_pinv": 0.5})
    ...     [run.name for run in read_runs(Path(parent).glob("seed-*"))]
    ['seed-0', 'seed-1']
    """
    paths = [Path(folder) for folder in folders]
    if not paths:
        raise NeuralCollapseError("runs", "at least one folder", "none", "pass the folder of a run")
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        raise NeuralCollapseError(
            "runs", "each folder once", "a folder twice", "pass different runs"
        )
    last = [path.name for path in resolved]
    names = [
        path.name if last.count(path.name) == 1 else str(Path(*path.parts[-2:]))
        for path in resolved
    ]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    runs = [read_run(path, name) for path, name in zip(paths, names, strict=True)]
    _require_same_classes(runs)
    return runs


def _require_same_classes(runs: list[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        named = first.snapshots and run.snapshots
        a, b = first.class_names, run.class_names
        if len(a) != len(b) or (named and a != b):
            expected = f"the same classes in all, {_shown(a)} as in {first.name}"
            remedy = "write one report for each set of classes"
            raise NeuralCollapseError("runs", expected, f"{_shown(b)} in {run.name}", remedy)


def _shown(names: list[str]) -> str:
    some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"{len(names)} ({some})"

"""The folder of a run: which files in it are ours, who may write there, and what is never lost."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import read_json, remove_half_written, write_json, writing
from neuralcollapse.measurement import CollapseReport
from neuralcollapse.moments import ClassMoments
from neuralcollapse.runs.history import append_record, read_history
from neuralcollapse.runs.record import Record
from neuralcollapse.runs.snapshot_files import remove_snapshots, snapshot_files, write_snapshot

FORMAT = "neuralcollapse run, 2"


class FolderInUseError(NeuralCollapseError):
    """Another process is writing to the folder of a run."""


class RunFolder:
    """Files of a run: config.json, which names the others, history.jsonl and snapshots.

    Ours are the files that a config.json of our format names. Other files are never replaced, and
    a history with records is only given up where the caller asks to overwrite. One process writes
    at a time, which a lock on ``.lock`` ensures: it ends with the process, however that ends, on
    Linux, macOS and Windows; on a network file system it holds if that has POSIX locks.

    Parameters
    ----------
    path
        The folder.
    argument
        What the caller calls it, for messages.

    Attributes
    ----------
    own
        Names of the files that a run writes here.
    """

    own: tuple[str, ...] = ("history.jsonl", "snapshots")

    def __init__(self, path: str | Path, argument: str = "out") -> None:
        self.path, self._argument = Path(path), argument
        self.config = self.path / "config.json"
        self.history = self.path / "history.jsonl"

    @property
    def used(self) -> bool:
        """Whether there is a run."""
        return self.config.exists() or self.history.exists()

    @property
    def files(self) -> set[str]:
        """Names of what is ours here; none if config.json is not of our format."""
        if not self.config.is_file():
            return set()
        try:
            content = read_json(self.config)
        except NeuralCollapseError:  # then it is not ours, which is all that is asked
            return set()
        if content.get("format") == FORMAT and isinstance(content.get("files"), list):
            return {str(name) for name in content["files"]}
        # Version 0.1.0 named no files, but wrote no others.
        return set(self.own) if "neuralcollapse" in part_of(content, "versions") else set()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one to write in the block.

        Raises
        ------
        FolderInUseError
            If another process or thread is writing.
        """
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        with self.writing():
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                expected = "a folder that no other process writes to"
                got = f"{self.path}, which one does"
                remedy = "wait for it to end, or choose another folder"
                raise FolderInUseError(self._argument, expected, got, remedy) from error
        try:
            yield
        finally:
            lock.release()

    def require_unused(self) -> None:
        """Refuse a folder with a run in it."""
        if self.used:
            expected = "a folder without a history"
            remedy = "continue it with resume, replace it with overwrite, or choose another folder"
            raise NeuralCollapseError(self._argument, expected, str(self.history), remedy)

    def require_ours(self, *more: str) -> None:
        """Refuse a folder in which a file that would be written is another's.

        Parameters
        ----------
        more
            Names of further files to be written.
        """
        ours = self.files
        names = [name for name in (*self.own, *more) if name not in {*ours, "snapshots"}]
        foreign = [name for name in names if os.path.lexists(self.path / name)]
        if "snapshots" not in ours:
            foreign += [f"snapshots/{file.name}" for file in snapshot_files(self.path)]
        if self.config.exists() and not ours:
            foreign.insert(0, self.config.name)
        if foreign:
            expected = f"a folder whose {', '.join(foreign)} is of a run"
            got = f"files of another in {self.path}: its config.json does not name them"
            remedy = "move them away, or choose another folder"
            raise NeuralCollapseError(self._argument, expected, got, remedy)

    def claim(self, *names: str) -> None:
        """Name further files in config.json, which are then ours; refuse those of another.

        Parameters
        ----------
        names
            Of files in this folder.
        """
        self.require_ours(*names)
        content = read_json(self.config) if self.config.exists() else {}
        self._write_config(content, names)

    def describe(self, description: Mapping[str, Any]) -> None:
        """Say in config.json what holds from now on of a run that goes on.

        Parameters
        ----------
        description
            Parts of its content; what is empty here stays as it was.
        """
        content = read_json(self.config) if self.config.exists() else {}
        self._write_config(content | {name: part for name, part in description.items() if part}, ())

    def start(self, description: Mapping[str, Any], overwrite: bool = False) -> None:
        """Remove what an earlier run of ours left, and write config.json.

        Parameters
        ----------
        description
            Its content.
        overwrite
            Whether an earlier run may be given up.
        """
        self.require_ours()
        if not overwrite and (self.history.exists() or "history.jsonl" in self.files):
            self.require_unused()
        with self.writing():
            self.clear_half_written()
            self._remove_run()
            self._write_config(description, self.files)

    def require_same(
        self,
        identity: Mapping[str, Mapping[str, Any]],
        read: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] | None = None,
    ) -> None:
        """Refuse to continue a run that was configured otherwise; the message names the keys.

        Parameters
        ----------
        identity
            What config.json must hold; the rest of it is where the run was made.
        read
            How a part of config.json is read that an earlier version may have written.
        """
        kept = read_json(self.config)
        made = {part: (read or {}).get(part, dict)(part_of(kept, part)) for part in identity}
        differing = [
            f"{key} = {old.get(key)!r} there and {new.get(key)!r} now"
            for old, new in ((made[part], new) for part, new in identity.items())
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key)
        ]
        if differing:
            expected = f"the configuration of the run in {self.path}"
            remedy = "correct it, or choose another folder"
            raise NeuralCollapseError("resume", expected, "; ".join(differing), remedy)

    def cut(self, size: int, epoch: int) -> None:
        """Cut the history back to so many bytes, and remove the snapshots of later epochs."""
        length = self.history_bytes()
        if length < size:
            expected = f"at least the {size} bytes of the checkpoint's records in {self.history}"
            remedy = "restore the file, or start again with overwrite"
            raise NeuralCollapseError("history", expected, str(length), remedy)
        if length:
            with self.writing():
                os.truncate(self.history, size)
                remove_snapshots(self.path, after=epoch)

    def go_back(self, records: Sequence[Record]) -> None:
        """Cut the history back to records that a checkpoint knows, if they are its beginning."""
        there = self.records()
        mine, theirs = ([_moment(record) for record in part] for part in (there, records))
        if mine[: len(theirs)] != theirs:
            expected = f"the records of the checkpoint, to epoch {theirs[-1][0]:g}"
            remedy = "continue in the folder of that run, or choose another folder"
            raise NeuralCollapseError("history", expected, f"others in {self.history}", remedy)
        lines = self.history.read_bytes().splitlines(keepends=True)
        self.cut(len(b"".join(lines[: len(theirs)])), int(theirs[-1][0]))

    def records(self) -> list[Record]:
        """Return the records so far."""
        return read_history(self.history) if self.history_bytes() else []

    def history_bytes(self) -> int:
        """Return the length of the history."""
        return self.history.stat().st_size if self.history.exists() else 0

    def append(self, record: Record) -> None:
        """Add a record to the history."""
        with self.writing():
            append_record(self.history, record)

    def keep_geometry(
        self, epoch: int, report: CollapseReport, before: ClassMoments | None = None
    ) -> None:
        """Write the snapshot of a measurement, and the moments of the layer before if known."""
        with self.writing():
            write_snapshot(self.path, epoch, report, before=before)

    def clear_half_written(self) -> None:
        """Remove what killed processes left of writing here."""
        for name in (*self.own, self.config.name):
            remove_half_written(self.path / name)

    def writing(self) -> Any:
        """Return a context that turns a full or closed disk into an error with a remedy."""
        return writing(self.path, argument=self._argument)

    def _remove_run(self) -> None:
        self.history.unlink(missing_ok=True)
        remove_snapshots(self.path)

    def _write_config(self, content: Mapping[str, Any], names: Iterable[str]) -> None:
        files = sorted({*self.own, *self.files, *names})
        document = {"format": FORMAT, **content, "files": files}
        with self.writing():
            write_json(self.config, document)


def _moment(record: Record) -> tuple[float, float | None]:
    """Return epoch and step of a record; no step reads as NaN."""
    step = record.get("step")
    return record["epoch"], None if step is None or math.isnan(step) else step


def require_one(resume: bool, overwrite: bool) -> None:
    """Refuse to continue a run and to replace it at once."""
    if resume and overwrite:
        raise NeuralCollapseError(
            "resume, overwrite", "at most one of them", "both", "continue the run or replace it"
        )


def part_of(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a part of a config.json that is an object; empty if it is none."""
    part = content.get(name)
    return dict(part) if isinstance(part, Mapping) else {}

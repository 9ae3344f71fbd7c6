"""The folder of a run: what is in it, who may write to it, and when it can be gone on with."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement import CollapseReport
from neuralcollapse.moments import ClassMoments
from neuralcollapse.runs import remove_snapshots, write_snapshot
from neuralcollapse.runs.history import Record, append_record, read_history
from neuralcollapse.training.checkpoints import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
    save_weights,
    write_whole,
)
from neuralcollapse.training.config import TrainConfig


class RunFolder:
    """Files of a run: config.json, history.jsonl, snapshots, checkpoint.pt, at last the weights.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.history = self.path / "history.jsonl"
        self.checkpoint = self.path / "checkpoint.pt"
        self.weights = self.path / "model.safetensors"

    @property
    def finished(self) -> bool:
        """Whether the run has ended: the final weights are written last."""
        return self.weights.exists()

    @property
    def used(self) -> bool:
        """Whether there is a run."""
        return self.config.exists() or self.history.exists()

    def require_unused(self) -> None:
        """Refuse a folder with a run in it."""
        if self.used:
            raise NeuralCollapseError(
                "out",
                "a folder without a history",
                str(self.history),
                "go on with resume, replace it with overwrite, or choose another folder",
            )

    def require_same(self, identity: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse to go on with a run that was made otherwise; the message names the keys.

        Parameters
        ----------
        identity
            What config.json must hold; the rest of it is where the run was made.
        """
        try:
            kept = json.loads(self.config.read_text())
            defaults = {"config": TrainConfig().to_dict()}
            # What is missing there is an option of a later version, at its default.
            made = {part: defaults.get(part, {}) | dict(kept.get(part) or {}) for part in identity}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise NeuralCollapseError(
                "out",
                f"the configuration of a run in {self.config}",
                str(error),
                "restore the file, or start again with overwrite",
            ) from error
        differing = [
            f"{key} = {old.get(key)!r} there and {new.get(key)!r} now"
            for old, new in ((made[part], new) for part, new in identity.items())
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key)
        ]
        if differing:
            raise NeuralCollapseError(
                "resume",
                f"the configuration of the run in {self.path}",
                "; ".join(differing),
                "correct it, or choose another folder",
            )

    def start(self, description: Mapping[str, Any], size: int) -> None:
        """Remove what an earlier run left, and write config.json.

        Parameters
        ----------
        description
            Its content.
        size
            Bytes that the run will need; refused now if they cannot be written.
        """
        with self.writing():
            self._clear_killed_writes()
            self.probe(size)
            # The weights go first: while they are there, the run counts as finished.
            for file in (self.weights, self.checkpoint, self.history):
                file.unlink(missing_ok=True)
            remove_snapshots(self.path)
            write_whole(self.config, (json.dumps(description, indent=2) + "\n").encode())

    def resume(self) -> Checkpoint | None:
        """Return the checkpoint and cut the history back to it; None if there is none yet."""
        self._clear_killed_writes()
        if not self.checkpoint.exists():
            with self.writing():
                self.history.unlink(missing_ok=True)
                remove_snapshots(self.path)
            return None
        checkpoint = load_checkpoint(self.checkpoint)
        length = self.history.stat().st_size if self.history.exists() else 0
        if length < checkpoint.history_bytes:
            raise NeuralCollapseError(
                "history",
                f"at least the {checkpoint.history_bytes} bytes of the checkpoint's records in "
                f"{self.history}",
                str(length),
                "restore the file, or start again with overwrite",
            )
        if length:
            with self.writing():
                os.truncate(self.history, checkpoint.history_bytes)
                remove_snapshots(self.path, after=checkpoint.epoch)
        return checkpoint

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
        self, epoch: int, report: CollapseReport, before: ClassMoments | None
    ) -> None:
        """Write the snapshot of a measurement, and the moments of the layer before if known."""
        with self.writing():
            write_snapshot(self.path, epoch, report, before=before)

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint."""
        with self.writing():
            save_checkpoint(self.checkpoint, checkpoint)

    def finish(self, state: dict[str, Tensor]) -> None:
        """Write the final weights, which ends the run."""
        with self.writing():
            save_weights(self.weights, state)

    def probe(self, size: int) -> None:
        """Write so many bytes, and remove them.

        Parameters
        ----------
        size
            In bytes.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / ".probe"
        try:
            with open(file, "wb") as probe:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(probe.fileno(), 0, size)
                probe.write(b"probe")
        finally:
            file.unlink(missing_ok=True)

    def _clear_killed_writes(self) -> None:
        for file in (self.config, self.checkpoint, self.weights):
            for folder in self.path.glob(f".{file.name}-*"):
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what the system says when it cannot write into an error that says what to do."""
        try:
            yield
        except OSError as error:
            kept = f"the last checkpoint in {self.path} is whole, free space and go on with resume"
            raise NeuralCollapseError(
                "out",
                f"a folder with room that can be written, {self.path}",
                error.strerror or str(error),
                kept if self.checkpoint.exists() else "free space, or choose another folder",
            ) from error

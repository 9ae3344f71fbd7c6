"""The folder of a run that trains: beside its records, what it needs to go on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import read_json, writing
from neuralcollapse.runs.folder import RunFolder, part_of
from neuralcollapse.training.checkpoints import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
    save_weights,
)
from neuralcollapse.training.execution import Execution


class TrainingFolder(RunFolder):
    """A `RunFolder` with checkpoint.pt and, at last, model.safetensors.

    Parameters
    ----------
    path
        The folder.
    """

    own = (*RunFolder.own, "checkpoint.pt", "model.safetensors")

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.checkpoint = self.path / "checkpoint.pt"
        self.weights = self.path / "model.safetensors"

    @property
    def finished(self) -> bool:
        """Whether the run has ended: its weights are there, or its last record is of its end."""
        if not self.config.exists():
            return False
        if self.weights.exists():
            return True
        epochs = part_of(read_json(self.config), "config").get("epochs")
        records = [] if self.checkpoint.exists() else self.records()
        return bool(records) and records[-1].get("epoch") == epochs

    def execution(self) -> Execution | None:
        """Return how the run here was carried out so far; None if there is none, or an older."""
        if not self.config.exists():
            return None
        kept = part_of(read_json(self.config), "execution")
        found: dict[str, Any] = {field.name: kept.get(field.name) for field in fields(Execution)}
        plain = vars(Execution())
        proper = all(type(value) is type(plain[name]) for name, value in found.items())
        return Execution(**found) if proper and found["threads"] >= 1 else None

    def begin(self, description: Mapping[str, Any], size: int, overwrite: bool) -> None:
        """Start a run, see `start`, if so many bytes can be written."""
        self.require_ours()
        with self.writing():
            self._probe(size)
        self.start(description, overwrite)

    def resume(self) -> Checkpoint | None:
        """Return the checkpoint and cut the history back to it; None before the first one."""
        self.clear_half_written()
        if not self.checkpoint.exists():
            if self.history_bytes():  # the first checkpoint is written before the first record
                expected = f"the checkpoint that the records in {self.history} were made with"
                remedy = "restore it, start again with overwrite, or choose another folder"
                raise NeuralCollapseError("resume", expected, "no checkpoint.pt", remedy)
            return None
        checkpoint = load_checkpoint(self.checkpoint)
        self.cut(checkpoint.history_bytes, checkpoint.epoch)
        return checkpoint

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint."""
        with self.writing():
            save_checkpoint(self.checkpoint, checkpoint)

    def finish(self, state: dict[str, Tensor]) -> None:
        """Write the final weights, which ends the run."""
        with self.writing():
            save_weights(self.weights, state)

    def writing(self) -> Any:
        """Return a context that turns a full or closed disk into an error with a remedy."""
        kept = f"the last checkpoint in {self.path} is whole; free space, and continue with resume"
        there = self.checkpoint.exists()
        return writing(self.path, kept if there else "free space, or choose another folder")

    def _remove_run(self) -> None:
        # The weights go first: while they are there, the run counts as finished.
        for file in (self.weights, self.checkpoint):
            file.unlink(missing_ok=True)
        super()._remove_run()

    def _probe(self, size: int) -> None:
        """Write so many bytes, and remove them."""
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / ".probe"
        try:
            with open(file, "wb") as probe:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(probe.fileno(), 0, size)
                probe.write(b"probe")
        finally:
            file.unlink(missing_ok=True)

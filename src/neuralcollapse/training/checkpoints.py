"""The state of a run at the end of an epoch, on disk whole or not at all."""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from neuralcollapse.files import reading, write_whole

# The type of each part; numbers are finite and not negative.
TYPES: dict[str, Any] = {
    "epoch": int, "seconds": (int, float), "history_bytes": int, "model": dict, "optimizer": dict,
    "streaks": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on as if it had never stopped.

    Random states are not part of it: what is random in an epoch depends on (seed, epoch) alone.

    Attributes
    ----------
    epoch
        Epochs done.
    seconds
        How long they took.
    history_bytes
        Length of the history when it was made; what follows belongs to epochs that are done again.
    model, optimizer
        Their ``state_dict()``.
    streaks
        The same of what alarms remember, see `Streaks`; empty in a file of an older version.
    """

    epoch: int
    seconds: float
    history_bytes: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    streaks: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; where this is interrupted, the one before stays.

    Parameters
    ----------
    path
        The file.
    checkpoint
        The state.

    Raises
    ------
    OSError
        If the disk is full or the folder not writable.
    """
    buffer = io.BytesIO()  # torch writing to a file itself would hide the reason of a failure
    torch.save(vars(checkpoint), buffer)
    write_whole(path, buffer.getbuffer())


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is executed.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Checkpoint
        With tensors on the CPU.

    Raises
    ------
    NeuralCollapseError
        If the file is damaged or no checkpoint.
    """
    where = f"the whole checkpoint of a run in {path}"
    with reading("checkpoint", where, "restore the file, or start again with overwrite"):
        with zipfile.ZipFile(path) as archive:  # torch writes check sums but does not read them
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"a wrong check sum of {damaged}")
        found = Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
        for name, kind in TYPES.items():
            value = getattr(found, name)
            if not isinstance(value, kind) or (kind is not dict and not 0 <= value < math.inf):
                raise TypeError(f"{name} = {value!r}"[:80])
        return found


def save_weights(path: str | Path, state: dict[str, Tensor]) -> None:
    """Write a network's ``state_dict()`` to a safetensors file.

    Parameters
    ----------
    path
        The file.
    state
        Tensors by name; those that share memory are written separately.

    Raises
    ------
    OSError
        If the disk is full or the folder not writable.
    """
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    write_whole(path, safetensors.torch.save(plain))

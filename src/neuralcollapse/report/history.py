"""The history of a run on disk: one JSON object a line, one line a measurement."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuralcollapse.errors import NeuralCollapseError

Record = dict[str, Any]


def append_record(path: str | Path, record: Mapping[str, Any]) -> None:
    """Append a record to a history file: a whole line, on the disk when this returns.

    Parameters
    ----------
    path
        The history.jsonl of a run; made if it is not there.
    record
        Names and JSON values. NaN and infinity, which JSON has not, become null.
    """
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.items()
    }
    line = json.dumps(finite, allow_nan=False) + "\n"
    # Unbuffered: the line reaches the file in one write, so that no crash of ours cuts it.
    with open(path, "ab", buffering=0) as file:
        file.write(line.encode())
        os.fsync(file.fileno())


def read_history(path: str | Path) -> list[Record]:
    """Read the records of a history file.

    Parameters
    ----------
    path
        The history.jsonl of a run, or the run's folder.

    Returns
    -------
    list of dict
        In the order of the file; null reads as NaN.

    Raises
    ------
    NeuralCollapseError
        If there is no such file, a line is no JSON object (the message gives its number), or
        there is no record.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as run:
    ...     append_record(f"{run}/history.jsonl", {"epoch": 1, "nc1_pinv": 0.5})
    ...     append_record(f"{run}/history.jsonl", {"epoch": 2, "nc1_pinv": float("nan")})
    ...     read_history(run)
    [{'epoch': 1, 'nc1_pinv': 0.5}, {'epoch': 2, 'nc1_pinv': nan}]
    """
    path = Path(path)
    path = path / "history.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise NeuralCollapseError(
            "path",
            "a history.jsonl",
            f"no file {path}",
            "pass the folder of a run",
        )
    lines = path.read_text().splitlines()
    records = [_parsed(path, number, line) for number, line in enumerate(lines, 1)]
    if not records:
        raise NeuralCollapseError(
            "path", "at least one record", f"an empty {path}", "wait for the first measurement"
        )
    return records


def _parsed(path: Path, number: int, line: str) -> Record:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise _broken(path, number, f"{error.msg} at column {error.colno}") from error
    if not isinstance(record, dict):
        raise _broken(path, number, type(record).__name__)
    return {name: math.nan if value is None else value for name, value in record.items()}


def _broken(path: Path, number: int, got: str) -> NeuralCollapseError:
    return NeuralCollapseError(
        f"{path}, line {number}", "one JSON object", got, "remove this line and read again"
    )

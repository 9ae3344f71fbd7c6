"""The history of a run on disk: one JSON object a line, one line a measurement."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import reading, without_nan
from neuralcollapse.runs.record import Record


def append_record(path: str | Path, record: Mapping[str, Any]) -> None:
    """Append a record to a history file: a whole line, on the disk when this returns.

    Parameters
    ----------
    path
        The history.jsonl of a run; made if it is not there.
    record
        Names and JSON values. NaN and infinity, which JSON lacks, become null.

    Raises
    ------
    OSError
        If the line cannot be written whole; the file is then as it was before.

    Examples
    --------
    >>> import tempfile
    >>> from neuralcollapse.runs import append_record, read_history
    >>> with tempfile.TemporaryDirectory() as run:
    ...     append_record(f"{run}/history.jsonl", {"epoch": 1, "nc1_pinv": 0.5})
    ...     read_history(run)
    [{'epoch': 1, 'nc1_pinv': 0.5}]
    """
    _require_plain(Path(path))
    line = (json.dumps(without_nan(record), allow_nan=False) + "\n").encode()
    # Unbuffered: the line reaches the file in one write, so that no crash of ours cuts it.
    with open(path, "ab", buffering=0) as file:
        before = file.tell()
        try:
            written = file.write(line)
            if written != len(line):  # a disk that fills up takes a part and says nothing
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise


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
        If there is no such file or it links elsewhere, a line is no JSON object or has an epoch
        that is not above the one before (the message gives its number), or there is no record.

    Examples
    --------
    >>> import tempfile
    >>> from neuralcollapse.runs import append_record, read_history
    >>> with tempfile.TemporaryDirectory() as run:
    ...     append_record(f"{run}/history.jsonl", {"epoch": 1, "nc1_pinv": 0.5})
    ...     append_record(f"{run}/history.jsonl", {"epoch": 2, "nc1_pinv": float("nan")})
    ...     read_history(run)
    [{'epoch': 1, 'nc1_pinv': 0.5}, {'epoch': 2, 'nc1_pinv': nan}]
    """
    path = Path(path)
    path = path / "history.jsonl" if path.is_dir() else path
    if not path.is_file():
        expected = "a history.jsonl"
        raise NeuralCollapseError("path", expected, f"no file {path}", "pass the folder of a run")
    _require_plain(path)
    with reading(path, "a history in UTF-8", "restore it"):
        text = path.read_text(encoding="utf-8")
    return parse_history(path, text)


def parse_history(path: Path, text: str) -> list[Record]:
    """Return the records in the text of a history, of which the path is named in errors.

    Parameters
    ----------
    path
        Where the text is from.
    text
        One JSON object a line.

    Raises
    ------
    NeuralCollapseError
        As in `read_history`.
    """
    records = [_parsed(path, number, line) for number, line in enumerate(text.splitlines(), 1)]
    if not records:
        raise NeuralCollapseError(
            "path", "at least one record", f"an empty {path}", "wait for the first measurement"
        )
    _require_rising(path, records)
    return records


def _require_plain(path: Path) -> None:
    """Refuse a history that is a link: what it names may be anything."""
    if path.is_symlink():
        raise NeuralCollapseError(
            "history", "a plain file", f"the link {path}", "pass the folder that holds the file"
        )


def _require_rising(path: Path, records: list[Record]) -> None:
    """Refuse the records of two runs, or of one that was written twice."""
    last = -math.inf
    for number, record in enumerate(records, 1):
        epoch = record.get("epoch", math.nan)
        if isinstance(epoch, bool) or not isinstance(epoch, (int, float)):
            raise _broken(path, number, f"the epoch {epoch!r}", "a number of an epoch")
        if epoch <= last:
            raise _broken(path, number, f"{epoch:g}", f"an epoch above {last:g}, the one before")
        last = max(last, epoch) if epoch == epoch else last


def _parsed(path: Path, number: int, line: str) -> Record:
    where = f"{path}, line {number}"
    with reading(where, "one JSON object", "remove this line and read again"):
        record = json.loads(line)
        if not isinstance(record, dict):
            raise ValueError(type(record).__name__)
        return {name: _with_nan(value) for name, value in record.items()}


def _with_nan(value: Any) -> Any:
    """Replace None, however deep, by NaN."""
    if isinstance(value, dict):
        return {name: _with_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    return math.nan if value is None else value


def _broken(path: Path, number: int, got: str, expected: str) -> NeuralCollapseError:
    return NeuralCollapseError(
        f"{path}, line {number}", expected, got, "remove this line and read again"
    )

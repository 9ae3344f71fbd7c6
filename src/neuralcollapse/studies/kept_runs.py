"""Finished runs kept for good: settings and records without weights, a compressed file each."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuralcollapse.files import reading, write_whole
from neuralcollapse.runs.history import parse_history
from neuralcollapse.runs.record import Record
from neuralcollapse.studies.sweep.runs import SweepRun

LIMIT = 2**26  # bytes of a kept run when unpacked: a small file must not fill the memory


def keep_run(path: Path, run: SweepRun, outcomes: Mapping[str, float] | None = None) -> None:
    """Write config.json as one line, and the history after it, the same bytes at every call.

    Parameters
    ----------
    path
        The file.
    run
        A finished one.
    outcomes
        Further numbers to keep with it, added to its config.json.
    """
    made: dict[str, Any] = json.loads((run.folder / "config.json").read_text())
    if outcomes is not None:
        made["outcomes"] = dict(outcomes)
    text = json.dumps(made) + "\n" + (run.folder / "history.jsonl").read_text()
    write_whole(path, gzip.compress(text.encode(), mtime=0))


def read_kept_run(path: Path) -> tuple[dict[str, Any], list[Record]]:
    """Return how a kept run was made, as in its config.json, and its records.

    Parameters
    ----------
    path
        From `keep_run`.

    Raises
    ------
    NeuralCollapseError
        If the file is damaged, or no kept run.
    """
    remedy = "restore the file, or remove it to train again"
    with reading(path, "a run as keep_run writes it", remedy):
        with gzip.open(path) as file:
            content = file.read(LIMIT + 1)
        first, _, rest = content.decode().partition("\n")
        made = json.loads(first)
        if len(content) > LIMIT or not isinstance(made, dict) or "config" not in made:
            raise ValueError("other content" if len(content) <= LIMIT else "more than 64 MiB")
    return made, parse_history(path, rest)

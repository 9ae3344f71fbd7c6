"""Files are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move it into place when the block succeeds.

    Whoever reads `path` sees the old file or the new one, never half of one; if the block fails,
    the old file stays.

    Parameters
    ----------
    path
        The file to write. Its folder is made if it is not there.

    Yields
    ------
    Path
        A file name with the same ending, to be written in the block.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(f"{folder}/new/a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     Path(folder, "new/a.txt").read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        temporary = Path(folder, path.name)
        yield temporary
        temporary.replace(path)


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> Path:
    """Write plain arrays to an npz file, compressed, and return where.

    Parameters
    ----------
    path
        The file, ending in ``.npz``. Its folder is made if it is not there.
    arrays
        Arrays by name, none of objects.

    Raises
    ------
    ValueError
        If an array holds Python objects, which would have to be pickled.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.load(write_npz(f"{folder}/a.npz", {"x": [1, 2]}))["x"].tolist()
    [1, 2]
    """
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)
    return Path(path)

"""npz files of plain arrays: nothing in them is unpickled, and none unpacks without bound."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuralcollapse.files import atomic_path, reading

BOMB_RATIO, BOMB_BYTES = 200, 2**30  # an archive that unpacks to more of both is refused


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read an npz file of plain arrays, in the byte order of this machine.

    Parameters
    ----------
    path
        The file; nothing in it is ever unpickled.

    Raises
    ------
    NeuralCollapseError
        If there is no such file, or it cannot be read, holds Python objects, or unpacks to more
        than a GiB and 200 times its own size.
    """
    remedy = "save numeric arrays, or text after .astype(str), with numpy.savez"
    with reading(path, "an npz file of plain arrays", remedy):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > max(BOMB_BYTES, BOMB_RATIO * os.path.getsize(path)):
            raise ValueError(f"{unpacked:,} bytes in {os.path.getsize(path):,}")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: _native(arrays[name]) for name in arrays.files}


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> Path:
    """Write plain arrays to a compressed npz file, and return its path.

    Parameters
    ----------
    path
        The file, ending in ``.npz``. Its folder is created if it does not exist.
    arrays
        Arrays by name, none of Python objects.

    Raises
    ------
    ValueError
        If an array holds Python objects, which would have to be pickled.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     read_npz(write_npz(f"{folder}/a.npz", {"x": [1, 2]}))["x"].tolist()
    [1, 2]
    """
    plain = {name: np.asarray(value) for name, value in arrays.items()}
    objects = [name for name, array in plain.items() if array.dtype.hasobject]
    if objects:  # numpy before 2.2 has no allow_pickle here, and would store it as an array
        raise ValueError(f"arrays of Python objects are not written: {', '.join(objects)}")
    # Of a name numpy would change the ending; the stub takes every keyword for allow_pickle.
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **plain)  # type: ignore[arg-type]
    return Path(path)


def _native(array: np.ndarray) -> np.ndarray:
    if not isinstance(array, np.ndarray):  # what another program put into the archive
        raise ValueError("an entry that is no array")
    return array.astype(array.dtype.newbyteorder("="), copy=False)

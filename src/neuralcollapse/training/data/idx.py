"""The IDX file format of MNIST and its kin: a typed array behind a short header."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.data.gzipped import read_bytes
from neuralcollapse.training.data.splits import damaged

# Third byte of the magic number -> element type, big-endian as stored.
DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | Path) -> Tensor:
    """Read an IDX file, compressed with gzip or not.

    Parameters
    ----------
    path
        The file. Whether it is compressed is seen from its first bytes, not from its name.

    Returns
    -------
    Tensor
        Of the shape and the type that the header states, in the machine's byte order.

    Raises
    ------
    NeuralCollapseError
        If there is no such file, it does not start as an IDX file does, it is longer or shorter
        than its header says, or its compression is damaged.

    References
    ----------
    LeCun, Cortes & Burges, "The MNIST database of handwritten digits", file formats.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from neuralcollapse.training import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "labels-idx1-ubyte")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(file).tolist()
    [7, 2, 1]
    """
    path = Path(path)
    try:
        content = read_bytes(path)
    except FileNotFoundError as error:
        raise NeuralCollapseError("path", "an IDX file", f"no file {path}", "check it") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in DTYPES:
        expected = "the magic number of an IDX file (0 0 type rank)"
        raise damaged(path, expected, content[:4].hex(" "))
    dtype, rank = np.dtype(DTYPES[content[2]]), content[3]
    start = 4 + 4 * rank
    if len(content) < start:
        raise damaged(path, f"a header of {start} bytes", f"{len(content)} bytes")
    shape = np.frombuffer(content, ">u4", rank, offset=4).tolist()
    size = start + math.prod(shape) * dtype.itemsize
    if len(content) != size:
        raise damaged(path, f"{size} bytes for shape {tuple(shape)}", f"{len(content)} bytes")
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return torch.from_numpy(array.astype(dtype.newbyteorder("=")))

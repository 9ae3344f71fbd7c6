"""Files that may be compressed with gzip."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from neuralcollapse.training.data.splits import damaged


def read_bytes(path: Path) -> bytes:
    """Return a file's content, uncompressed; its first bytes say whether it is compressed.

    Parameters
    ----------
    path
        Of the file.

    Raises
    ------
    NeuralCollapseError
        If its compression is damaged.
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.gz")
    ...     _ = file.write_bytes(gzip.compress(b"abc"))
    ...     read_bytes(file)
    b'abc'
    """
    content = path.read_bytes()
    try:
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, "whole gzip data", str(error)) from error

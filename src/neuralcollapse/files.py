"""Files: written completely or not at all, and one clear error for any that cannot be read."""

from __future__ import annotations

import glob
import json
import math
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neuralcollapse.errors import NeuralCollapseError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move it into place when the block succeeds.

    Whoever reads `path` sees the old file or the new one, never half of one; if the block fails,
    the old file stays. A symbolic link stays one: the file that it points to is replaced. A device
    or a pipe, such as ``/dev/stdout``, is written to directly. What a killed process left beside
    `path` is removed (on POSIX systems, if the process ran on this machine).

    Parameters
    ----------
    path
        The file to write. Its folder is created if it does not exist.

    Yields
    ------
    Path
        A file name with the same ending, to be written in the block.

    Raises
    ------
    NeuralCollapseError
        If `path` is a folder.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(f"{folder}/new/a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     Path(folder, "new/a.txt").read_text()
    'whole'
    """
    path = Path(path)
    if is_no_plain_file(path):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder, path.name)
            yield temporary
            with open(temporary, "rb") as source, open(path, "ab") as target:
                shutil.copyfileobj(source, target)
        return
    if path.is_dir():
        raise NeuralCollapseError(
            os.fspath(path), "the name of a file to write", "a folder", "name a file in it"
        )
    path = path.resolve() if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_half_written(path)
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name[:60]}-{socket.gethostname()}-{os.getpid()}-", dir=path.parent
    ) as folder:
        temporary = Path(folder, path.name)
        yield temporary
        temporary.replace(path)


def write_whole(path: str | os.PathLike[str], content: str | bytes | memoryview) -> Path:
    """Write a file that is either old or new even after a power failure, and return its path.

    Parameters
    ----------
    path
        The file, see `atomic_path`.
    content
        The whole content; text is encoded as UTF-8, its line endings unchanged. Lone surrogates
        (how Python holds bytes of a file name that are not UTF-8) are written as escapes.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(f"{folder}/new/a.txt", "whole").read_text()
    'whole'
    """
    encoded = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(encoded)
        file.flush()
        os.fsync(file.fileno())
    return Path(path)


def write_json(path: str | os.PathLike[str], document: Any) -> Path:
    """Write a document as JSON with `write_whole`, and return its path.

    Parameters
    ----------
    path
        The file.
    document
        Nested plain values, see `without_nan`.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     read_json(write_json(f"{folder}/a.json", {"x": [1.5, math.inf]}))
    {'x': [1.5, None]}
    """
    text = json.dumps(without_nan(document), indent=2, allow_nan=False)
    return write_whole(path, f"{text}\n")


def without_nan(value: Any) -> Any:
    """Return nested values with None for NaN and infinity, which JSON cannot express.

    Parameters
    ----------
    value
        Mappings, lists and tuples of plain values, nested to any depth.

    Examples
    --------
    >>> without_nan({"worst": [("a", float("nan"))], "least": 0.5})
    {'worst': [['a', None]], 'least': 0.5}
    """
    if isinstance(value, Mapping):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def remove_half_written(path: Path) -> None:
    """Remove temporary files that killed processes of this machine left beside a file.

    Parameters
    ----------
    path
        The file, as given to `atomic_path`.
    """
    start = f".{path.name[:60]}-{socket.gethostname()}-"
    for folder in path.parent.glob(f"{glob.escape(start)}*"):
        process = folder.name.removeprefix(start).partition("-")[0]
        if process.isdigit() and not _is_alive(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def require_ours(path: str | os.PathLike[str], mark: bytes, ours: str, argument: str) -> None:
    """Refuse to replace a file that is there and that this library did not write.

    Parameters
    ----------
    path, mark
        The file to write, and what one of ours has among its first 4096 bytes.
    ours, argument
        What such a file is called, and the name to use in the error.
    """
    if os.path.isfile(path) and os.path.getsize(path):
        with open(path, "rb") as file:
            if mark not in file.read(4096):
                got = f"{os.fspath(path)}, which is of another"
                remedy = "move it away, or choose another name"
                raise NeuralCollapseError(argument, f"a new file, or {ours}", got, remedy)


@contextmanager
def reading(path: str | os.PathLike[str], expected: str, remedy: str) -> Iterator[None]:
    """Turn any failure to read a file into one clear error.

    Whatever a reader meets in a file from outside (damage, encryption, deep nesting, a size that
    exceeds memory) is the fault of the file, so every exception is converted; keep the block small.

    Parameters
    ----------
    path
        The file.
    expected
        What it should be.
    remedy
        What to do.

    Raises
    ------
    NeuralCollapseError
        If the block fails; the message names the file and the reason.

    Examples
    --------
    >>> with reading("a.json", "a JSON object", "restore it"):  # doctest: +ELLIPSIS
    ...     json.loads("[")
    Traceback (most recent call last):
    neuralcollapse.errors.NeuralCollapseError: a.json: expected a JSON object, got ...; restore it
    """
    try:
        yield
    except NeuralCollapseError:
        raise
    except Exception as error:  # whatever a damaged file makes its reader raise
        got = _reason(error)
        raise NeuralCollapseError(os.fspath(path), expected, got, remedy) from error


@contextmanager
def writing(
    path: str | os.PathLike[str],
    remedy: str = "free space, or choose another",
    argument: str = "out",
) -> Any:
    """Turn an `OSError` while writing into an error that says what to do.

    Parameters
    ----------
    path
        File or folder.
    remedy
        What to do.
    argument
        What the caller calls it.

    Raises
    ------
    NeuralCollapseError
        If the block fails with an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise NeuralCollapseError(
            argument, f"room and permission to write {os.fspath(path)}", _reason(error), remedy
        ) from error


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    path
        The file, in UTF-8.

    Raises
    ------
    NeuralCollapseError
        If there is no such file, or it cannot be read.
    """
    with reading(path, "a file with a JSON object", "restore or remove it"):
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"a JSON {type(content).__name__}")
    return content


def is_no_plain_file(path: Path) -> bool:
    """Return whether it is a device or a pipe, or lies in ``/proc`` or ``/dev``, not its memory."""
    parts = path.absolute().parts[:3]
    if parts[:2] in (("/", "dev"), ("/", "proc")) and parts[2:] != ("shm",):
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _is_alive(process: int) -> bool:
    if os.name != "posix":
        return True  # os.kill would end the process there
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _reason(error: BaseException) -> str:
    """Return what went wrong, in one line."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{str(error).partition(chr(10))[0] or type(error).__name__}"

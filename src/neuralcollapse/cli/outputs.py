"""What a command would write: refused before the work where that would lose something or fail."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuralcollapse.errors import NeuralCollapseError

OUTPUTS = ("json", "csv", "latex", "html", "save", "plot", "out")
ENDINGS = {"json": [".json"], "csv": [".csv"], "latex": [".tex"]}  # where a name has an ending


def check_outputs(given: Mapping[str, Any]) -> None:
    """Refuse an output that is also read or written under another name, or cannot be written.

    Parameters
    ----------
    given
        Arguments and options of a command by name; those of `OUTPUTS` are written.

    Raises
    ------
    NeuralCollapseError
        If two of the paths are one file, however spelled and linked; or a file to write is a
        folder, lies in a file, has not the ending of its kind, or is a page of another.
    """
    paths = [
        (name, Path(each))
        for name, value in given.items()
        for each in (value if isinstance(value, list) else [value])
        if isinstance(each, Path) or (name == "what" and Path(each).exists())
    ]
    for name, path in paths:
        if name in OUTPUTS:
            if any(other != name and _same(path, second) for other, second in paths):
                expected = "a file that is not read, nor written otherwise"
                got = f"{path}, which is"
                raise NeuralCollapseError(name, expected, got, "choose another name")
            _require_folder(name, path)
            if name != "out":
                _require_writable(name, path)


def _same(path: Path, other: Path) -> bool:
    from neuralcollapse.files import is_no_plain_file

    if is_no_plain_file(path) or path.is_dir():
        return False
    if path.exists() and other.exists():
        return path.samefile(other)
    return os.path.realpath(path) == os.path.realpath(other)


def _require_folder(name: str, path: Path) -> None:
    above = next((folder for folder in path.parents if folder.exists()), None)
    if above is not None and not above.is_dir():
        got = f"{path}, where {above} is a file"
        raise NeuralCollapseError(name, "a path in a folder", got, "choose another name")


def _require_writable(name: str, path: Path) -> None:
    expected = "the name of a file to write"
    if path.is_dir():
        raise NeuralCollapseError(name, expected, f"the folder {path}", "name a file in it")
    if str(path) == "-":
        remedy = "name a file; /dev/stdout follows the text that is printed"
        raise NeuralCollapseError(name, expected, "-", remedy)
    if name in ENDINGS and path.suffix:
        from neuralcollapse.validation import check_choice

        check_choice(name, path.suffix.lower(), ENDINGS[name])
    elif name == "html":
        from neuralcollapse.report.html.template import require_replaceable

        require_replaceable(path, name)
    elif name == "plot":
        from neuralcollapse.figure_style import require_image

        require_image(path, name)
    elif name == "save":
        from neuralcollapse.measurement.report_file import require_safetensors

        require_safetensors(path)

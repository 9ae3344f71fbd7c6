"""Named arrays from a file: npz, npy, csv, safetensors, or tensors saved by torch."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import reading
from neuralcollapse.npz_files import read_npz
from neuralcollapse.tensor_files import load_tensors

LABELS = ("label", "labels", "class", "target", "y")  # columns that hold the classes
STATES = ("state_dict", "model_state_dict", "model")  # what a checkpoint calls its weights


def read_arrays(path: str | Path, names: Collection[str] = ()) -> dict[str, Any]:
    r"""Read every array of a file; nothing in it is executed.

    Parameters
    ----------
    path
        ``.npz``; ``.npy``, a single array, named after the file if that is one of `names`, else
        ``features``;
        ``.safetensors``, whose metadata may hold class names as JSON; ``.pt``, ``.pth`` or
        ``.bin``, tensors by name; or ``.csv`` with a header: a column called label (or labels,
        class, target, y) holds the classes, columns ``logit_NAME`` the logits of the class of
        that name, all others features.
    names
        Names that the arrays may have; any name if empty.

    Returns
    -------
    dict
        Arrays or tensors by name.

    Raises
    ------
    NeuralCollapseError
        If the file does not exist, is of another kind or damaged, holds objects (which would have
        to be unpickled), or has an array of another name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     text = "length,width,label\n1.0,2.0,cat\n3.0,4.0,dog\n"
    ...     _ = Path(f"{folder}/a.csv").write_text(text)
    ...     arrays = read_arrays(f"{folder}/a.csv")
    >>> arrays["features"].tolist(), arrays["labels"].tolist()
    ([[1.0, 2.0], [3.0, 4.0]], ['cat', 'dog'])
    """
    path = existing_file(path)
    ending = path.suffix.lower()
    if ending not in READERS:
        expected = f"a {', '.join(list(READERS)[1:])} or .npz file"
        got = path.name
        raise NeuralCollapseError("path", expected, got, "save the arrays in one of these formats")
    arrays = READERS[ending](path)
    if "class_names" in arrays:
        arrays["class_names"] = _names(arrays["class_names"], path)
    if ending == ".npy":
        name = path.stem if path.stem in names else "features"
        arrays = {name: arrays[""]}
    unknown = sorted(set(arrays) - set(names)) if names else []
    if unknown:
        near = {name: get_close_matches(name, names, 1) for name in unknown}
        meant = ", ".join(f"{name!r} for {found[0]!r}" for name, found in near.items() if found)
        expected = f"arrays named {', '.join(names)}, and no others"
        got = f"{', '.join(map(repr, unknown))} in {path.name}"
        remedy = "rename or leave out the others" + (f" (perhaps {meant})" if meant else "")
        raise NeuralCollapseError("path", expected, got, remedy)
    return arrays


def existing_file(path: str | Path) -> Path:
    """Return the path of a file that is there; refuse another."""
    path = Path(path)
    if not path.is_file():
        got = f"the folder {path}" if path.is_dir() else f"nothing at {path}"
        raise NeuralCollapseError("path", "a file", got, "check the name")
    return path


def read_class_names(path: str | Path) -> list[str]:
    """Read the names of classes from a text file, one per line."""
    with reading(path, "a text file with one class name per line", "check the name"):
        return Path(path).read_text(encoding="utf-8-sig").splitlines()


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file that torch saved, without unpickling anything else.

    Parameters
    ----------
    path
        A mapping of names to tensors, such as a state dict, or a checkpoint that holds one as
        ``state_dict``, ``model_state_dict`` or ``model``.

    Raises
    ------
    NeuralCollapseError
        If it is not such a file.
    """
    return {name: value for name, value in _saved(path).items() if isinstance(value, Tensor)}


def _saved(path: Path) -> dict[str, Any]:
    """Return the named values of a file that torch wrote, or those of the state dict in it."""
    expected = f"safetensors, or a state dict of tensors alone, in {path.name}"
    remedy = "save it with safetensors, or torch.save(model.state_dict(), ...)"
    with reading("path", expected, remedy):
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name in STATES:
            if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
                state = state[name]
        if not isinstance(state, Mapping):
            raise ValueError(type(state).__name__)
    return {str(name): value for name, value in state.items()}


def _names(found: Any, path: Path) -> list[str]:
    names = found.tolist() if isinstance(found, (np.ndarray, Tensor)) else found
    if not isinstance(names, (list, tuple)) or any(
        isinstance(name, (list, dict)) for name in names
    ):
        got = f"{' '.join(str(found).split())[:40]} in {path.name}"
        raise NeuralCollapseError(
            "class_names in the file", "a list of names", got, "store one name per class"
        )
    return [str(name) for name in names]


def _read_npy(path: Path) -> dict[str, Any]:
    with reading(path, "an npy file of plain numbers", "save it with numpy.save"):
        return {"": np.load(path, allow_pickle=False)}


def _read_safetensors(path: Path) -> dict[str, Any]:
    arrays: dict[str, Any]
    with reading(path, "a safetensors file", "save the file again"):
        arrays, words = load_tensors(path)
    if "class_names" in words:
        with reading(path, "class_names in the metadata as a JSON list", "store them so"):
            arrays["class_names"] = json.loads(words["class_names"])
    return arrays


def _read_csv(path: Path) -> dict[str, Any]:
    import pandas as pd

    with reading(path, "a csv file with a header", "write it with pandas.DataFrame.to_csv"):
        # As pandas renames a name that stands there twice, the header is read by itself.
        header = pd.read_csv(path, header=None, nrows=1, dtype=str, na_filter=False).iloc[0]
        text = {name: str for name in header if name.strip().lower() in LABELS}
        table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=text)
    names = [str(name) for name in table.columns]
    nameless = [name for name in names if name.startswith("Unnamed: ")]  # as pandas calls it
    if nameless or all(map(_is_number, names)):
        got = f"{', '.join(map(repr, (nameless or names)[:3]))} in {path.name}"
        remedy = "add a header, and write the table without its index (index=False)"
        raise NeuralCollapseError("path", "a name for every column, in the first line", got, remedy)
    often = [name for name, times in Counter(header.str.strip()).items() if times > 1]
    if often:
        got = f"{', '.join(map(repr, often))} more than once in {path.name}"
        remedy = "rename or leave out the others"
        raise NeuralCollapseError("path", "each name of a column once", got, remedy)
    columns = {str(name).strip(): table[name] for name in table.columns}
    labels = [name for name in columns if name.lower() in LABELS]
    scores = [name for name in columns if name.lower().startswith("logit")]
    rest = [name for name in columns if name not in labels and name not in scores]
    words = [n for n in [*scores, *rest] if not pd.api.types.is_numeric_dtype(columns[n])]
    if words or len(labels) > 1:
        expected = f"columns of numbers beside one column of labels ({', '.join(LABELS)})"
        got = f"{', '.join(map(repr, words or labels))} in {path.name}"
        remedy = "rename the column of labels, leave out other text, and part columns by commas"
        raise NeuralCollapseError("path", expected, got, remedy)
    for name, column in columns.items():
        if column.isna().any():
            got = f"none in row {int(column.isna().argmax()) + 1} of {name!r} in {path.name}"
            raise NeuralCollapseError("path", "an entry in every cell", got, "complete the table")
    found: dict[str, Any] = {}
    if rest:
        found["features"] = np.stack([columns[name] for name in rest], 1).astype(np.float64)
    if scores:
        found["logits"] = np.stack([columns[name] for name in scores], 1).astype(np.float64)
    if len(scores) > 1:  # a single one stands for two classes
        found["class_names"] = [re.sub(r"^logits?_?", "", n, flags=re.I) or n for n in scores]
    if labels:
        found["labels"] = columns[labels[0]].to_numpy(dtype=np.str_)
    return found


def _is_number(name: str) -> bool:
    """Return whether a column name is a number: then the file has no header."""
    try:
        float(name)
    except ValueError:
        return False
    return True


READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".npz": read_npz,
    ".npy": _read_npy,
    ".csv": _read_csv,
    ".safetensors": _read_safetensors,
    ".pt": _saved,
    ".pth": _saved,
    ".bin": _saved,
}

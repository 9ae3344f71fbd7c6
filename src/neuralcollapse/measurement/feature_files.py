"""Features, labels and a head in one file: the arguments of `measure_features`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.array_files import LABELS, read_arrays
from neuralcollapse.npz_files import write_npz
from neuralcollapse.tensor_files import save_tensors
from neuralcollapse.validation import as_tensor

NAMES = (
    "features", "labels", "weight", "bias", "logits", "class_names",
    "test_features", "test_labels", "test_logits",
)  # fmt: skip
FOREIGN = "foreign_features"  # of samples without a class, which only `ood` looks at


def read_features(path: str | Path) -> dict[str, Any]:
    """Read the arguments of `measure_features` from a file.

    Parameters
    ----------
    path
        As in `read_arrays`, with ``features`` (N, d), ``labels`` (N,) of any kind, and optionally
        ``weight`` (K, d), ``bias`` (K,), ``logits`` (N, K), ``class_names`` (K,),
        ``test_features``, ``test_labels`` and ``test_logits``. The ``foreign_features`` that the
        command `ood` scores are passed over.

    Returns
    -------
    dict
        The arrays by name, for ``measure_features(**read_features(path))``.

    Raises
    ------
    NeuralCollapseError
        If the file does not exist, is of another kind or damaged, holds objects (which would have
        to be unpickled), lacks features or labels, or has an array of another name.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from neuralcollapse.measurement import read_features, write_features
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_features(f"{folder}/f.npz", features=np.ones((2, 3)), labels=np.array([0, 1]))
    ...     sorted(read_features(f"{folder}/f.npz"))
    ['features', 'labels']
    """
    arrays = of_classes(path)
    missing = {"features", "labels"} - set(arrays)
    if missing:
        expected = (
            f"arrays named 'features' and 'labels', and no others than {', '.join(NAMES[2:])}"
        )
        got, remedy = f"{sorted(arrays)} in {Path(path).name}", "add what is missing"
        if Path(path).suffix.lower() == ".csv":
            remedy = f"name the column of labels one of {', '.join(LABELS)}; others are features"
        raise NeuralCollapseError("path", expected, got, remedy)
    return arrays


def of_classes(path: str | Path) -> dict[str, Any]:
    """Read all arrays of a file, as in `read_features`, but for those of foreign samples."""
    arrays = read_arrays(path, (*NAMES, FOREIGN))
    arrays.pop(FOREIGN, None)
    return arrays


def write_features(path: str | Path, **arrays: Any) -> None:
    """Write features, labels and a head to a file, atomically.

    Parameters
    ----------
    path
        ``.npz`` or ``.safetensors``.
    arrays
        Tensors or arrays by the names that `read_features` knows.

    Raises
    ------
    NeuralCollapseError
        If a name or the file extension is unknown.

    Examples
    --------
    >>> import tempfile
    >>> from neuralcollapse.measurement import read_features, write_features
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_features(f"{folder}/f.safetensors", features=[[2.0]], labels=[0])
    ...     read_features(f"{folder}/f.safetensors")["features"]
    tensor([[2.]], dtype=torch.float64)
    """
    unknown = set(arrays) - set(NAMES)
    if unknown:
        raise NeuralCollapseError(
            "arrays", f"names among {', '.join(NAMES)}", str(sorted(unknown)), "rename them"
        )
    path = Path(path)
    if path.suffix.lower() not in (".npz", ".safetensors"):
        raise NeuralCollapseError(
            "path", "a .npz or .safetensors file", path.name, "use one of these two extensions"
        )
    names = arrays.pop("class_names", None)
    tensors: dict[str, Tensor] = {
        name: as_tensor(name, array).detach().cpu().contiguous() for name, array in arrays.items()
    }
    if path.suffix.lower() == ".npz":
        plain = {name: tensor.numpy() for name, tensor in tensors.items()}
        if names is not None:
            plain["class_names"] = np.array(list(map(str, names)))
        write_npz(path, plain)
        return
    words = {} if names is None else {"class_names": json.dumps(list(map(str, names)))}
    save_tensors(path, tensors, words)

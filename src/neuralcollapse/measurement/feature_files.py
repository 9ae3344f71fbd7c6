"""Features, labels and a head in one file: npz or safetensors, never pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import atomic_path, read_npz, reading, write_npz
from neuralcollapse.validation import as_tensor

NAMES = ("features", "labels", "weight", "bias", "test_features", "test_labels")


def read_features(path: str | Path) -> dict[str, Any]:
    """Read the arguments of `measure_features` from a file.

    Parameters
    ----------
    path
        ``.npz`` or ``.safetensors`` with ``features`` (N, d) and ``labels`` (N,), and if wanted
        ``weight`` (K, d), ``bias`` (K,), ``test_features`` and ``test_labels``.

    Returns
    -------
    dict
        The arrays by name, to be passed on as ``measure_features(**read_features(path))``.

    Raises
    ------
    NeuralCollapseError
        If the file is not there, is of another kind, is damaged, holds objects (which would have
        to be unpickled, and are refused), lacks features or labels, or has an array of another
        name.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_features(f"{folder}/f.npz", features=np.ones((2, 3)), labels=np.array([0, 1]))
    ...     sorted(read_features(f"{folder}/f.npz"))
    ['features', 'labels']
    """
    path = Path(path)
    readers = {".npz": read_npz, ".safetensors": _read_safetensors}
    if path.suffix not in readers:
        raise NeuralCollapseError(
            "path", "a .npz or .safetensors file", path.name, "save the features in one of these"
        )
    if not path.is_file():
        raise NeuralCollapseError("path", "a file", f"nothing at {path}", "check the name")
    arrays = readers[path.suffix](path)
    missing, unknown = {"features", "labels"} - set(arrays), set(arrays) - set(NAMES)
    if missing or unknown:
        raise NeuralCollapseError(
            "path",
            f"arrays named 'features' and 'labels', and no others than {', '.join(NAMES[2:])}",
            f"{sorted(arrays)} in {path.name}",
            "rename or leave out the others",
        )
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
        If a name or the ending is unknown.

    Examples
    --------
    >>> import tempfile
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
    if path.suffix not in (".npz", ".safetensors"):
        raise NeuralCollapseError(
            "path", "a .npz or .safetensors file", path.name, "choose one of these endings"
        )
    tensors: dict[str, Tensor] = {
        name: as_tensor(name, array).detach().cpu().contiguous() for name, array in arrays.items()
    }
    if path.suffix == ".npz":
        write_npz(path, {name: tensor.numpy() for name, tensor in tensors.items()})
        return
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def _read_safetensors(path: Path) -> dict[str, Any]:
    with (
        reading(path, "a safetensors file", "save the file again"),
        safe_open(path, framework="pt") as archive,
    ):
        return {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118

"""Tensors in a safetensors file, with a checksum by which later damage is known."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from neuralcollapse.files import atomic_path

CHECKSUM = "sha256"


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], words: Mapping[str, str]
) -> None:
    """Write tensors and words to a safetensors file, atomically.

    Parameters
    ----------
    path
        The file. Its folder is created if it does not exist.
    tensors
        By name; on the CPU and contiguous.
    words
        Text by name, for the metadata.
    """
    with atomic_path(path) as temporary:
        save_file(dict(tensors), temporary, {**words, CHECKSUM: _checksum(tensors, words)})


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and words from a safetensors file.

    Parameters
    ----------
    path
        The file, of `save_tensors` or of another program, which stores no checksum.

    Returns
    -------
    tuple
        Tensors and words by name.

    Raises
    ------
    ValueError
        If they are not those that were saved.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_tensors(f"{folder}/a.safetensors", {"x": torch.ones(2)}, {"unit": "m"})
    ...     load_tensors(f"{folder}/a.safetensors")
    ({'x': tensor([1., 1.])}, {'unit': 'm'})
    """
    with safe_open(path, framework="pt") as file:
        # An archive is not a mapping: it has keys, but cannot be iterated over.
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        words = dict(file.metadata() or {})
    if CHECKSUM in words and words.pop(CHECKSUM) != _checksum(tensors, words):
        raise ValueError("other content than was saved: the file is damaged")
    return tensors, words


def _checksum(tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> str:
    found = hashlib.sha256(repr(sorted(words.items())).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()

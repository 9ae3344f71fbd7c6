"""A head from a file of weights: safetensors or a state dict, read without running anything."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import reading
from neuralcollapse.measurement.array_files import existing_file, read_state
from neuralcollapse.measurement.report_file import is_report
from neuralcollapse.metrics.head import Head
from neuralcollapse.tensor_files import CHECKSUM, load_tensors

# Names that libraries give their heads, in the order of trying; tied heads are embeddings.
USUAL = (
    "lm_head.weight",
    "classifier.weight",
    "head.weight",
    "fc.weight",
    "embed_out.weight",
    "score.weight",
    "model.embed_tokens.weight",
    "transformer.wte.weight",
    "wte.weight",
)


def head_from_file(path: str | Path, key: str | None = None) -> Head:
    """Read the weight of a head, and its bias if there is one, from a file of weights.

    Parameters
    ----------
    path
        ``.safetensors``, also of a report, or a state dict saved by torch, from which only tensors
        are unpickled.
    key
        Name of the (K, d) weight. If omitted, the usual names are tried, then the only matrix.

    Returns
    -------
    Head
        Named by the key; its bias is the tensor of the same name ending in ``bias``, if there is
        one.

    Raises
    ------
    NeuralCollapseError
        If the file does not exist, cannot be read or is not as it was saved, the key is not in it
        (similar names are listed), or it does not name a matrix.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(torch.nn.Linear(3, 2).state_dict(), f"{folder}/m.pt")
    ...     head = head_from_file(f"{folder}/m.pt")
    >>> head.name, head.weight.shape, head.bias.shape
    ('weight', torch.Size([2, 3]), torch.Size([2]))
    """
    path = existing_file(path)
    if path.suffix.lower() == ".safetensors":
        with (
            reading("path", f"safetensors in {path.name}", "save the weights again"),
            safe_open(path, framework="pt") as file,
        ):
            names = list(file.keys())
            if is_report(path):  # of its tensors, only the head is one
                names = [name for name in names if name in ("weight", "bias")]
                if not names:
                    expected, got = "a report with a head", f"{path.name}, which has none"
                    raise NeuralCollapseError("path", expected, got, "measure with the head")
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            key = _choose(key, shapes, path)
            if CHECKSUM in (file.metadata() or {}):  # of all that is in the file
                return _head(key, load_tensors(path)[0])
            return _head(key, {n: file.get_tensor(n) for n in (key, _bias(key)) if n in shapes})
    tensors = read_state(path)
    key = _choose(key, {name: tuple(value.shape) for name, value in tensors.items()}, path)
    return _head(key, tensors)


def _choose(key: str | None, shapes: Mapping[str, tuple[int, ...]], path: Path) -> str:
    matrices = [name for name, shape in shapes.items() if len(shape) == 2 and min(shape) > 0]
    if key is None:
        usual = [name for name in USUAL if name in matrices]
        if usual or len(matrices) == 1:
            return usual[0] if usual else matrices[0]
        raise NeuralCollapseError(
            "key", "the name of the head's weight", "none", f"name one of {_some(matrices)}"
        )
    if key not in shapes:
        near = get_close_matches(key, shapes, n=5, cutoff=0.3) or matrices
        raise NeuralCollapseError(
            "key", f"a name in {path.name}", repr(key), f"similar names are {_some(near)}"
        )
    if key not in matrices:
        raise NeuralCollapseError(
            "key", "a matrix (K, d)", f"shape {shapes[key]} of {key!r}", f"try {_some(matrices)}"
        )
    return key


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "(no matrix)"


def _bias(key: str) -> str:
    return key.removesuffix("weight") + "bias"


def _head(key: str, tensors: Mapping[str, Tensor]) -> Head:
    weight, bias = tensors[key], tensors.get(_bias(key))
    fits = bias is not None and bias.shape == weight.shape[:1]
    return Head(key, weight, bias if fits else None)

"""The parts of a batch: its inputs, which may be moved to a device, and its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError

LABEL_KEYS = ("labels", "label", "targets", "target", "y")


def unpack_batch(batch: Any, label_keys: Sequence[str] = LABEL_KEYS) -> tuple[Any, Any]:
    """Split a batch into inputs and labels.

    Parameters
    ----------
    batch
        A sequence (inputs, labels); a mapping or named tuple with labels under one of the names;
        or an object with labels as an attribute of such a name, which is then passed whole.
    label_keys
        The names.

    Returns
    -------
    tuple
        Inputs, as a mapping if the batch was one or had several fields, and labels.

    Raises
    ------
    NeuralCollapseError
        If the batch has another form.

    Examples
    --------
    >>> unpack_batch({"input_ids": 1, "labels": 2})
    ({'input_ids': 1}, 2)
    """
    names = getattr(batch, "_fields", ())
    named = dict(zip(names, batch, strict=True)) if names else batch
    if isinstance(named, Mapping):
        given = {k: value for k, value in named.items() if not (value is None and k in label_keys)}
        found = [key for key in label_keys if key in given]
        if len(found) > 1 and tuple(label_keys) == LABEL_KEYS:  # names of a trainer's own go first
            got = f"{' and '.join(map(repr, found))} in one batch"
            remedy = "pass unpack=, a function from a batch to (inputs, labels)"
            raise NeuralCollapseError("loader", "labels under one name", got, remedy)
        if found:
            labels = given.pop(found[0])
            return next(iter(given.values())) if names and len(given) == 1 else given, labels
    if isinstance(batch, (list, tuple)) and len(batch) == 2:
        return batch[0], batch[1]
    if not isinstance(batch, (Mapping, list, tuple, Tensor)):
        key = next((key for key in label_keys if getattr(batch, key, None) is not None), None)
        if key is not None:
            return batch, getattr(batch, key)
    got = type(batch).__name__
    if isinstance(batch, Mapping):
        got = f"a mapping with keys {', '.join(map(repr, batch))}"
    elif isinstance(batch, (list, tuple)):
        got += f" of length {len(batch)}"
    expected = f"batches (inputs, labels), or mappings with a key among {', '.join(label_keys)}"
    remedy = "pass unpack=, a function from a batch to (inputs, labels)"
    raise NeuralCollapseError("loader", expected, got, remedy)


def moved(value: Any, device: torch.device) -> Any:
    """Return inputs with their tensors on a device, nested to any depth, types unchanged.

    Parameters
    ----------
    value
        A tensor, mapping, sequence, named tuple, dataclass, or object with ``.to``.
    device
        The device.
    """
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: moved(item, device) for name, item in value.items()}
    if callable(getattr(value, "to", None)):  # also a PackedSequence, which is a tuple
        return value.to(device)
    if isinstance(value, (list, tuple)):
        items = [moved(item, device) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if is_dataclass(value) and not isinstance(value, type):
        values = {f.name: moved(getattr(value, f.name), device) for f in fields(value) if f.init}
        return replace(value, **values)
    return value

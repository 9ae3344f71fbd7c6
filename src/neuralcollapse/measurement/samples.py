"""Samples: what batches of any form hold, and which rows of a head are samples."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.at_rest import bare
from neuralcollapse.validation import as_tensor

Unpack = Callable[[Any], tuple[Any, Any]]
Forward = Callable[[nn.Module, Any], Any]
LABEL_KEYS = ("labels", "label", "targets", "target", "y")
MASK_KEYS = ("attention_mask", "mask", "pixel_mask")  # 1 where there is something
PADDING_KEYS = ("padding_mask", "key_padding_mask", "src_key_padding_mask")  # 1 where not


@dataclass(frozen=True)
class Samples:
    """How batches are read: inputs, labels and masks, and which positions are samples.

    Parameters
    ----------
    unpack
        From a batch to (inputs, labels); by `unpack_batch` if None.
    forward
        From the network and inputs to its output; ``model(inputs)`` if None, or
        ``model(**inputs)`` of a mapping.
    ignore_index
        A label that is no class: such positions and samples are left out.
    shift_labels
        Whether the label of a position is the one after it, as causal language models are
        trained; those of Transformers (``*ForCausalLM``) are known if None.
    label_keys
        Names that labels may have in a mapping or object, the first found goes.
    decoder
        Whether the network decodes what the labels say, and is told them, as the sequence-to-
        sequence models of Transformers are while they are trained.

    Examples
    --------
    >>> features, logits = torch.zeros(1, 3, 2), torch.zeros(1, 3, 5)
    >>> rows = Samples().rows(features, logits, torch.tensor([[4, -100, 0]]))
    >>> rows[0].shape, rows[2].tolist()
    (torch.Size([2, 2]), [4, 0])
    """

    unpack: Unpack | None = None
    forward: Forward | None = None
    ignore_index: int = -100
    shift_labels: bool | None = None
    label_keys: Sequence[str] = LABEL_KEYS
    decoder: bool = False

    def of(self, model: nn.Module) -> Samples:
        """Return this reading with what depends on the network decided for it."""
        shift = is_causal(model) if self.shift_labels is None else self.shift_labels
        return replace(self, shift_labels=shift, decoder=has_decoder(model))

    def split(self, batch: Any) -> tuple[Any, Any, Tensor | None]:
        """Return inputs, labels and a mask, 1 where there is something, if the batch has one."""
        unpack = self.unpack
        inputs, labels = unpack(batch) if unpack else unpack_batch(batch, self.label_keys)
        mask = self.mask(inputs)
        untold = {"decoder_input_ids", "decoder_inputs_embeds"}.isdisjoint
        if self.decoder and isinstance(inputs, Mapping) and untold(inputs):
            inputs = {**inputs, "labels": labels}
        return inputs, labels, mask

    def mask(self, inputs: Any) -> Tensor | None:
        """Return which positions of the output are there, if the inputs are a mapping that says."""
        if self.decoder and isinstance(inputs, Mapping):
            return inputs.get("decoder_attention_mask")
        return mask_of(inputs)

    def expected(self, labels: Any, mask: Tensor | None) -> tuple[int | None, Tensor | None, bool]:
        """Return how many samples come, their mask, and whether each position is one."""
        if isinstance(labels, PackedSequence) or not hasattr(labels, "__len__"):
            return None, mask, isinstance(labels, PackedSequence)
        positions = isinstance(labels, Tensor) and labels.ndim > 1 and labels.shape[1] > 1
        return len(labels), mask, positions

    def run(self, model: nn.Module, inputs: Any) -> Any:
        """Return what a network makes of inputs."""
        if self.forward is not None:
            return self.forward(model, inputs)
        if not isinstance(inputs, Mapping):
            return model(inputs)
        names = {*MASK_KEYS, *PADDING_KEYS} & {*inputs}
        if names:  # which need not be for the network
            taken = inspect.signature(model.forward).parameters
            if not any(part.kind is part.VAR_KEYWORD for part in taken.values()):
                inputs = {k: v for k, v in inputs.items() if k in taken or k not in names}
        return model(**inputs)

    def rows(
        self, features: Tensor, logits: Tensor, labels: Any, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Any]:
        """Return (features (n, d), logits (n, K), labels (n,)), one row per sample.

        Parameters
        ----------
        features, logits
            (n, ..., d) and (n, ..., K), with positions between if the head is applied to each.
        labels
            One a row; or as many as positions, in the same shape or with the first two axes
            exchanged, or packed.
        mask
            Of the shape of the positions, 0 where a position is no sample; of another shape, such
            as that of tokens which are pooled before the head, it does not count.

        Raises
        ------
        NeuralCollapseError
            If there is not one label a position.
        """
        labels = _unpacked(labels, features, self.ignore_index)
        if features.ndim == 2:
            return self._single(features, logits, labels)
        true = as_tensor("labels", labels).to(features.device)
        where = features.shape[:-1]
        if true.ndim == len(where) + 1 and true.shape[1] == 1:  # maps with a channel for the class
            true = true.squeeze(1)
        if true.shape != where and true.ndim == 2 and true.T.shape == where:
            true = true.T
        if true.shape != where:
            raise NeuralCollapseError(
                "labels",
                f"one a position, of shape {tuple(where)}",
                str(tuple(true.shape)),
                "pool tokens or positions before the head, or pass another head=",
            )
        mask = None if mask is None else mask.to(features.device)
        if mask is not None and mask.shape != where:
            mask = mask.T if mask.ndim == 2 and mask.T.shape == where else None
        if self.shift_labels:
            features, logits, true = features[:, :-1], logits[:, :-1], true[:, 1:]
            mask = None if mask is None else mask[:, :-1].bool() & mask[:, 1:].bool()
        keep = true != self.ignore_index
        keep = keep if mask is None else keep & mask.bool()
        if bool(keep.all()):
            return features.flatten(0, -2), logits.flatten(0, -2), true.flatten()
        return features[keep], logits[keep], true[keep]

    def _single(self, features: Tensor, logits: Tensor, labels: Any) -> tuple[Tensor, Tensor, Any]:
        true = labels if isinstance(labels, Tensor) else np.asarray(labels)
        if isinstance(true, np.ndarray):
            if true.dtype.kind not in "biuf":  # names, which are read by whoever knows them
                return features, logits, labels
            true = as_tensor("labels", true)
        true = true.to(features.device)
        if true.numel() == len(features):
            true = true.flatten()
            if logits.shape[1] == 2 and not true.is_complex() and bool((true == true.long()).all()):
                true = true.long()  # of 0.0 and 1.0, as binary losses take them
        if true.ndim == 1 and len(true) == len(features):
            keep = true != self.ignore_index
            if not bool(keep.all()):
                return features[keep], logits[keep], true[keep]
        return features, logits, true


def is_causal(model: nn.Module) -> bool:
    """Return whether a network is one of Transformers that is trained on the next token.

    Parameters
    ----------
    model
        The network, perhaps with adapters.

    Examples
    --------
    >>> is_causal(nn.Linear(2, 2))
    False
    """
    names = [kind.__name__ for kind in type(_without_adapters(model)).__mro__]
    return "PreTrainedModel" in names and names[0].endswith(("ForCausalLM", "LMHeadModel"))


def has_decoder(model: nn.Module) -> bool:
    """Return whether a network is one of Transformers that makes one sequence of another.

    Parameters
    ----------
    model
        The network, perhaps with adapters.

    Examples
    --------
    >>> has_decoder(nn.Linear(2, 2))
    False
    """
    return callable(
        getattr(_without_adapters(model), "prepare_decoder_input_ids_from_labels", None)
    )


def unpack_batch(batch: Any, label_keys: Sequence[str] = LABEL_KEYS) -> tuple[Any, Any]:
    """Split a batch into inputs and labels.

    Parameters
    ----------
    batch
        A sequence (inputs, labels); a mapping or named tuple with labels under one of the names;
        or an object with labels as such an attribute, which is then the input as a whole.
    label_keys
        The names.

    Returns
    -------
    tuple
        Inputs, a mapping if the batch was one or named several, and labels.

    Raises
    ------
    NeuralCollapseError
        If the batch is none of these.

    Examples
    --------
    >>> unpack_batch({"input_ids": 1, "labels": 2})
    ({'input_ids': 1}, 2)
    """
    names = getattr(batch, "_fields", ())
    named = dict(zip(names, batch, strict=True)) if names else batch
    if isinstance(named, Mapping):
        key = next((key for key in label_keys if key in named), None)
        if key is not None:
            inputs = {name: value for name, value in named.items() if name != key}
            return next(iter(inputs.values())) if names and len(inputs) == 1 else inputs, named[key]
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
    raise NeuralCollapseError(
        "loader",
        f"batches (inputs, labels), or mappings with a key among {', '.join(label_keys)}",
        got,
        "pass unpack=, a function from a batch to (inputs, labels)",
    )


def mask_of(inputs: Any) -> Tensor | None:
    """Return which positions are there, if the inputs are a mapping that says so."""
    if not isinstance(inputs, Mapping):
        return None
    for names, turned in ((MASK_KEYS, False), (PADDING_KEYS, True)):
        for name in names:
            if isinstance(inputs.get(name), Tensor):
                mask = inputs[name].bool()
                return ~mask if turned else mask
    return None


def moved(value: Any, device: torch.device) -> Any:
    """Return inputs with their tensors on a device, however nested, each kind as it was.

    Parameters
    ----------
    value
        A tensor, mapping, sequence, named tuple, dataclass, or object with ``.to``.
    device
        Where to.
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


def _without_adapters(model: nn.Module) -> nn.Module:
    model = bare(model)
    base = getattr(model, "get_base_model", None)  # of peft
    return base() if callable(base) else model


def _unpacked(labels: Any, features: Tensor, ignore_index: int) -> Any:
    """Return packed labels in the order of packed features, or padded like padded ones."""
    if not isinstance(labels, PackedSequence):
        return labels
    if features.ndim == 2:
        return labels.data
    padded, _ = pad_packed_sequence(labels, batch_first=True, padding_value=ignore_index)
    return padded

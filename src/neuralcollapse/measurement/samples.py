"""Samples: how batches of any form are read, and which rows at the head are samples."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.at_rest import bare
from neuralcollapse.measurement.batch_parts import LABEL_KEYS, unpack_batch
from neuralcollapse.measurement.masks import MASK_KEYS, PADDING_KEYS, laid_out, mask_of
from neuralcollapse.validation import are_shares, integer_labels, label_values, read_labels

Unpack = Callable[[Any], tuple[Any, Any]]
Forward = Callable[[nn.Module, Any], Any]


@dataclass(frozen=True)
class Samples:
    """How batches are read: inputs, labels and masks, and which positions are samples.

    Parameters
    ----------
    unpack
        Function from a batch to (inputs, labels); `unpack_batch` if None.
    forward
        Function from the network and inputs to the output; ``model(inputs)`` if None, or
        ``model(**inputs)`` for a mapping.
    ignore_index
        A label that is not a class: positions and samples with it are left out.
    shift_labels
        Whether each position is judged by the label after it, as causal language models are
        trained; if None, true for those of Transformers (``*ForCausalLM``).
    label_keys
        Names that labels may have in a mapping or object; the first one found is used.
    class_names
        Names of the classes in order, for labels that are text.
    decoder
        Whether the network decodes the labels and takes them as input, as the sequence-to-sequence
        models of Transformers do in training.

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
    class_names: Sequence[Any] | None = None
    decoder: bool = False

    def of(self, model: nn.Module) -> Samples:
        """Return a copy in which all that depends on the network is decided."""
        shift = is_causal(model) if self.shift_labels is None else self.shift_labels
        return replace(self, shift_labels=shift, decoder=has_decoder(model))

    def split(self, batch: Any) -> tuple[Any, Any, Tensor | None]:
        """Return inputs, labels and, if the batch has one, a mask: 1 where there is a token."""
        parts: Any = self.unpack(batch) if self.unpack else unpack_batch(batch, self.label_keys)
        if not isinstance(parts, (tuple, list)) or len(parts) != 2:
            expected, got = "a function from a batch to (inputs, labels)", type(parts).__name__
            raise NeuralCollapseError("unpack", expected, f"one to {got}", "return both of them")
        inputs, labels = parts[0], self.read(parts[1])
        mask = self.mask(inputs, labels)
        untold = {"decoder_input_ids", "decoder_inputs_embeds"}.isdisjoint
        if self.decoder and isinstance(inputs, Mapping) and untold(inputs):
            inputs = {**inputs, "labels": labels}
        return inputs, labels, mask

    def mask(self, inputs: Any, labels: Any) -> Tensor | None:
        """Return the mask of the positions of the output, if the inputs have one."""
        if self.decoder and isinstance(inputs, Mapping):
            inputs = {"mask": inputs.get("decoder_attention_mask")}
        return mask_of(inputs, None if isinstance(labels, PackedSequence) else len(labels))

    def read(self, labels: Any) -> Any:
        """Return labels as a tensor of the same shape, packed if they are."""
        if isinstance(labels, PackedSequence):
            return labels._replace(data=self.read(labels.data))
        true = read_labels("labels", labels)
        if true.ndim == 0:
            expected, got = "batches of samples", f"a single sample, of label {labels}"
            raise NeuralCollapseError("loader", expected, got, "wrap the data set in a DataLoader")
        if isinstance(true, Tensor):
            real = true.is_floating_point() or true.dtype == torch.bool
            return true if real else true.long()  # -100 is 156 in 8 bits
        flat = integer_labels("labels", true.ravel(), None, class_names=self.class_names)
        return flat.view(true.shape)

    def expected(
        self, labels: Any, mask: Tensor | None
    ) -> tuple[int | None, Tensor | None, bool | None]:
        """Return the number of samples, their mask, and whether each position is a sample.

        The last is None where labels can be one-hot rows as well: the head tells, see `settled`.
        """
        if isinstance(labels, PackedSequence):
            return None, mask, True
        several = labels.ndim > 1 and labels[:1].numel() > 1
        either = several and labels.ndim == 2 and bool(are_shares(labels).all())
        return len(labels), mask, None if either else several

    def settled(
        self, labels: Any, features: Tensor | None = None, num_classes: int | None = None
    ) -> Any:
        """Return one-hot or soft labels as numbers (n,), and labels of positions as they are.

        Parameters
        ----------
        labels
            As `read` returns them.
        features
            What enters the head: labels are of its positions if it has several per sample. Without
            a head, they are one-hot if they can be.
        num_classes
            K, if known: the number of columns that one-hot labels must have.

        Raises
        ------
        NeuralCollapseError
            If neither head nor number of classes tells what integers with one 1 in each row are.

        Examples
        --------
        >>> labels, tokens = torch.eye(3)[[2, 0]], torch.ones(2, 3, 5)
        >>> Samples().settled(labels, tokens) is labels, Samples().settled(labels, tokens[:, :1])
        (True, tensor([2, 0]))
        """
        if features is None:
            one_hot = self.expected(labels, None)[2] is None
            one_hot = one_hot and num_classes in (None, labels.shape[1])
            if one_hot and num_classes is None and not labels.is_floating_point():
                expected = "one-hot rows, or labels of positions, and a sign which they are"
                got = f"integers of shape {tuple(labels.shape)} with one 1 in each row, and no head"
                remedy = "pass num_classes=, or one label per sample"
                raise NeuralCollapseError("labels", expected, got, remedy)
        else:
            alone = len(features) == len(labels) and math.prod(features.shape[1:-1]) == 1
            several = isinstance(labels, Tensor) and labels.ndim == 2 and labels.shape[1] > 1
            one_hot = alone and several and not self.shift_labels
        return label_values("labels", labels, num_classes) if one_hot else labels

    def run(self, model: nn.Module, inputs: Any) -> Any:
        """Return the output of a network for inputs."""
        if self.forward is not None:
            return self.forward(model, inputs)
        if not isinstance(inputs, Mapping):
            return model(inputs)
        names = {*MASK_KEYS, *PADDING_KEYS} & {*inputs}
        signature = inspect.signature(model.forward)
        if names:  # which the network may not take
            taken = signature.parameters
            if not any(part.kind is part.VAR_KEYWORD for part in taken.values()):
                inputs = {k: v for k, v in inputs.items() if k in taken or k not in names}
        try:
            signature.bind(**inputs)
        except TypeError as error:
            expected = f"a network whose forward takes {', '.join(map(str, inputs))} by name"
            first = repr(next(iter(inputs), "x"))
            remedy = "pass forward=, such as lambda model, inputs: model(inputs)"
            remedy += f", or model(inputs[{first}])"
            raise NeuralCollapseError(
                "model", expected, f"one that does not: {error}", remedy
            ) from error
        return model(**inputs)

    def rows(
        self, features: Tensor, logits: Tensor, labels: Any, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return (features (n, d), logits (n, K), labels (n,)), one row per sample.

        Parameters
        ----------
        features, logits
            (n, ..., d) and (n, ..., K), with positions between if the head is applied to each; a
            single position is the sample itself.
        labels
            One per row; or one per position, in the same shape, with the first two axes exchanged,
            or packed. As `settled` returns them.
        mask
            One number per position, or per single sample, 0 where it is not a sample. Ignored if it
            has another shape, such as that of tokens that are pooled before the head.

        Raises
        ------
        NeuralCollapseError
            If there is not one label per position.
        """
        true = _unpacked(labels, features, self.ignore_index).to(features.device)
        one_position = math.prod(features.shape[1:-1]) == 1 and (mask is None or true.ndim == 1)
        if one_position and not self.shift_labels:  # a head applied to what was pooled
            features, logits = (t.reshape(len(t), -1) for t in (features, logits))
        if features.ndim == 2:
            return self._single(features, logits, true, mask)
        where = features.shape[:-1]
        if true.ndim == len(where) + 1 and true.shape[1] == 1:  # maps with a channel for the class
            true = true.squeeze(1)
        if true.shape != where and true.ndim == 2 and true.T.shape == where:
            true = true.T
        if true.shape != where:
            expected = f"one per position, of shape {tuple(where)}"
            remedy = "pool before the head, or bring labels to the resolution of the logits"
            raise NeuralCollapseError("labels", expected, str(tuple(true.shape)), remedy)
        mask = None if mask is None else laid_out(mask.to(features.device), where)
        if self.shift_labels:
            features, logits, true = features[:, :-1], logits[:, :-1], true[:, 1:]
            mask = None if mask is None else mask[:, :-1] & mask[:, 1:]
        keep = true != self.ignore_index
        keep = keep if mask is None else keep & mask
        if bool(keep.all()):
            return features.flatten(0, -2), logits.flatten(0, -2), true.flatten()
        return features[keep], logits[keep], true[keep]

    def _single(
        self, features: Tensor, logits: Tensor, true: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        if true.numel() != len(features):
            return features, logits, true
        keep = true != self.ignore_index
        there = None if mask is None else laid_out(mask.to(features.device), true.shape)
        keep = (keep if there is None else keep & there).flatten()
        true = true.flatten()
        return (
            (features, logits, true)
            if bool(keep.all())
            else (features[keep], logits[keep], true[keep])
        )


def is_causal(model: nn.Module) -> bool:
    """Return whether a network is a causal language model of Transformers.

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
    """Return whether a network is a sequence-to-sequence model of Transformers.

    Parameters
    ----------
    model
        The network, perhaps with adapters.

    Examples
    --------
    >>> has_decoder(nn.Linear(2, 2))
    False
    """
    made = getattr(_without_adapters(model), "prepare_decoder_input_ids_from_labels", None)
    return callable(made)


def _without_adapters(model: nn.Module) -> nn.Module:
    model = bare(model)
    base = getattr(model, "get_base_model", None)  # of peft
    return base() if callable(base) else model


def _unpacked(labels: Any, features: Tensor, ignore_index: int) -> Any:
    """Return packed labels in the order of packed features, or padded like padded features."""
    if not isinstance(labels, PackedSequence):
        return labels
    if features.ndim == 2:
        return labels.data
    padded, _ = pad_packed_sequence(labels, batch_first=True, padding_value=ignore_index)
    return padded

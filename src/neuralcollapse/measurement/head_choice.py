"""Which of the layers that ran is the head: a list of rules, and a check of what is returned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.head import ROWS, LayerCall, is_linear, read_head


def choose_head(model: nn.Module, calls: list[LayerCall], output: Any) -> LayerCall:
    """Return the call of the head, of which the output of the network is made.

    Of each tensor returned, or of the one under the name `logits`, the first of `RULES` that
    holds for a layer finds it. One layer must be left; else the one that the network's
    ``get_classifier()`` names, as in timm, is taken. Unless that says so, every tensor returned
    with its K must be explained by it.

    Parameters
    ----------
    model
        The network.
    calls
        Of all layers that may be its head, in one forward pass.
    output
        What the network returned.

    Raises
    ------
    NeuralCollapseError
        If no linear layer ran, or not one alone explains the output; all that ran are listed.
    """
    if not calls:
        raise NeuralCollapseError(
            "model",
            "a linear head (nn.Linear)",
            "none was called",
            "pass the last layer as head=, a module or its name, with a weight of shape (K, d)",
        )
    named, returned = _returned(output)
    makers = [(tensor, _makers(calls, tensor)) for tensor in returned]
    made = [call for _, found in makers for call in found]
    # What enters a layer whose output is returned is a feature that is returned, too.
    seen = [(t, found) for t, found in makers if not any(_same(t, c.features) for c in made)]
    rivals = list({call.module: call for _, found in seen for call in found}.values())
    classifier = getattr(model, "get_classifier", lambda: None)()
    told = [call for call in calls if call.module is classifier]
    if len(rivals) == 1:
        (head,) = rivals
        # Of a few samples another layer may keep the order by chance; what the model names is none.
        sure = not told or head in told or any(is_returned(head, tensor) for tensor in returned)
        if sure and all(head in found for tensor, found in seen if _has_classes(tensor, head)):
            return head
    if told:
        return told[-1]
    ran = dict.fromkeys(call.name for call in calls if is_linear(call.module))
    what = "the logits" if named else "all"
    raise NeuralCollapseError(
        "head",
        f"one linear layer whose output the model returns, to explain {what} of what it returns",
        f"{len(rivals)} of these candidates: {', '.join(map(repr, ran)) or 'none'}",
        "pass one of them as head=, or the module around them that makes the logits",
    )


def is_returned(call: LayerCall, tensor: Tensor) -> bool:
    """Whether the tensor is the output of the layer, perhaps in another shape or precision."""
    return _same(tensor, call.logits) or any(
        torch.equal(rows, logits.to(rows.dtype)) for rows, logits in _in_rows(tensor, call)
    )


def keeps_order(call: LayerCall, tensor: Tensor) -> bool:
    """Whether the tensor is the output after softmax, a scale, or what else keeps its order."""
    for rows, scores in _in_rows(tensor, call):
        rows, scores = rows.double(), scores.double()
        if scores.shape[1] == 1:  # one logit is ordered over samples
            rows, scores = rows.T, scores.T
        known = rows.isfinite().all(1) & scores.isfinite().all(1)
        rows, scores = rows[known], scores[known]
        steps = rows.gather(1, scores.argsort(1)).diff()
        slack = 16 * torch.finfo(tensor.dtype).eps * rows.abs().amax(1, keepdim=True)
        flat = (rows.amax(1) == rows.amin(1)) & (scores.amax(1) > scores.amin(1))
        if bool((steps >= -slack).all()) and not bool(flat.any()):
            return True
    return False


def is_one_token(call: LayerCall, tensor: Tensor) -> bool:
    """Whether the tensor is the output of the layer at one token per sample."""
    return one_token(call, tensor) is not None


def one_token(call: LayerCall, tensor: Tensor) -> LayerCall | None:
    """Reduce a call on tokens, (n, T, d), to the token a sample whose logits a tensor holds."""
    logits = call.logits
    if logits.ndim != 3 or tensor.shape != logits[:, 0].shape:
        return None
    found = (logits == tensor[:, None].to(logits)).all(2)
    if not bool(found.any(1).all()):
        return None
    rows, tokens = torch.arange(len(logits), device=found.device), found.int().argmax(1)
    return replace(call, features=call.features[rows, tokens], logits=logits[rows, tokens])


RULES: tuple[Callable[[LayerCall, Tensor], bool], ...] = (is_returned, keeps_order, is_one_token)


def reduced(call: LayerCall, output: Any) -> LayerCall:
    """Return the call at the tokens whose logits the network returns; all if it returns all.

    Raises
    ------
    NeuralCollapseError
        If the layer has several positions a sample, of which the network makes something else.
    """
    if call.logits.ndim <= 2 or output is None:
        return call
    _, returned = _returned(output)
    if any(is_returned(call, t) or keeps_order(call, t) for t in returned):
        return call
    for tensor in returned:
        found = one_token(call, tensor)
        if found is not None:
            return found
    raise NeuralCollapseError(
        "head",
        "features of shape (n, d), one row per sample, or logits returned for every position",
        f"{tuple(call.features.shape)} into {call.name!r}",
        "pool tokens or positions before the head, or pass another head=",
    )


def tensors_of(output: Any) -> Iterator[Tensor]:
    """Yield every tensor in what a module returned, however nested.

    Parameters
    ----------
    output
        A tensor, or a mapping, sequence or object that holds some.

    Examples
    --------
    >>> [tensor.item() for tensor in tensors_of({"a": torch.tensor(1), "b": [torch.tensor(2)]})]
    [1, 2]
    """
    seen: set[int] = set()
    waiting = [output]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif id(value) not in seen:
            seen.add(id(value))
            inside: Iterable[Any] = ()
            if isinstance(value, Mapping):
                inside = value.values()
            elif isinstance(value, (list, tuple)):
                inside = value
            elif hasattr(value, "__dict__") and not isinstance(value, (type, nn.Module)):
                inside = vars(value).values()
            waiting.extend(reversed(list(inside)))


def _returned(output: Any) -> tuple[bool, list[Tensor]]:
    """Return the tensors that an output calls its logits, or else all; and whether it does."""
    named = output.get("logits") if isinstance(output, Mapping) else None
    if named is None and not isinstance(output, (Tensor, Mapping)):
        named = getattr(output, "logits", None)
    tensors = tensors_of(output if named is None else named)
    return named is not None, [t.detach() if t.requires_grad else t for t in tensors]


def _makers(calls: list[LayerCall], tensor: Tensor) -> list[LayerCall]:
    """Return the calls that explain a tensor, by the first rule that holds for any.

    A module that is no linear layer by its making is asked whether it is one by what it does.
    """
    if not tensor.is_floating_point() or not tensor.ndim:
        return []
    for rule in RULES:
        found = [call for call in calls if rule(call, tensor)]
        linear = [call for call in found if is_linear(call.module)]
        found = linear or [call for call in found if read_head(call)[0] is not None]
        if found:
            return found
    return []


def _same(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors are the same numbers in the same memory."""
    return left is right or (
        left.shape == right.shape
        and left.stride() == right.stride()
        and left.dtype == right.dtype
        and left.data_ptr() == right.data_ptr()
        and left.numel() > 0
    )


def _has_classes(tensor: Tensor, head: LayerCall) -> bool:
    """Whether a tensor has a row of K numbers a sample, as the output of a head has."""
    shapes = (head.logits.shape, head.logits[:, 0].shape)
    return tensor.is_floating_point() and tensor.ndim > 1 and tensor.shape in shapes


def _in_rows(tensor: Tensor, call: LayerCall) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a tensor, with classes last or second, beside logits, at most `ROWS` rows of each."""
    num_classes, size = call.logits.shape[-1], call.logits.numel()
    if tensor.numel() != size or not size or not tensor.is_floating_point():
        return
    step = max(1, size // num_classes // ROWS)
    logits = call.logits.flatten(0, -2)[::step]
    if num_classes == 1 or tensor.shape[-1] == num_classes:
        yield tensor.reshape(-1, num_classes)[::step], logits
    if tensor.ndim > 2 and tensor.shape[1] == num_classes:
        yield tensor.movedim(1, -1).reshape(-1, num_classes)[::step], logits

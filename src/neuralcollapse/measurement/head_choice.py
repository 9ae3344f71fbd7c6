"""Which of the layers that ran is the head: a list of rules, checked on what is returned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.head import is_linear, read_head
from neuralcollapse.measurement.layer_call import ROWS, LayerCall


def choose_head(model: nn.Module, calls: list[LayerCall], output: Any) -> LayerCall:
    """Return the call of the head, from which the output of the network is made.

    For each returned tensor, or for the one named `logits`, the first of `RULES` that holds for
    some layer selects it. Exactly one layer must remain; otherwise the one that the network's
    ``get_classifier()`` names, as in timm, is taken. Unless it is named so, it must explain every
    returned tensor with its number of classes.

    Parameters
    ----------
    model
        The network.
    calls
        Calls of all layers that may be the head, in one forward pass.
    output
        What the network returned.

    Raises
    ------
    NeuralCollapseError
        If no linear layer ran, or not exactly one explains the output; all that ran are listed.
    """
    if not calls and output is None:
        expected, got = "a model that runs and returns logits", "no call of it or of its layers"
        remedy = "let each batch run through the very model that was passed, not a copy of it"
        raise NeuralCollapseError("model", expected, got, remedy)
    if not calls:
        remedy = "pass the last layer as head=, a module or its name, with a weight of shape (K, d)"
        raise NeuralCollapseError("model", "a linear head (nn.Linear)", "none was called", remedy)
    if output is None:
        heard = ", ".join(repr(call.name) for call in calls)
        expected = "what the model returns, which tells the head from other layers"
        remedy = "pass the head as head=, or let the training step call the model, not a part of it"
        raise NeuralCollapseError("head", expected, f"nothing, after calls of {heard}", remedy)
    named, returned = _returned(output)
    makers = [(tensor, _makers(calls, tensor)) for tensor in returned]
    made = [call for _, found in makers for call in found]
    # The input of a layer whose output is returned may be returned too, as features.
    seen = [(t, found) for t, found in makers if not any(_same(t, c.features) for c in made)]
    rivals = list({call.module: call for _, found in seen for call in found}.values())
    classifier = getattr(model, "get_classifier", lambda: None)()
    told = [call for call in calls if call.module is classifier]
    if len(rivals) == 1:
        (head,) = rivals
        # With few samples another layer may keep the order by chance, but a named one is the head.
        sure = not told or head in told or any(is_returned(head, tensor) for tensor in returned)
        if sure and all(head in found for tensor, found in seen if _has_classes(tensor, head)):
            return head
    if told:
        return told[-1]
    linear = [call for call in calls if is_linear(call.module)]
    fitting = [call for call in linear if any(_may_make(call, tensor) for tensor in returned)]
    ran = dict.fromkeys(call.name for call in fitting or linear)
    what = "the logits" if named else "all"
    of = "these candidates" if fitting else "these, none of which gives as many numbers"
    remedy = "pass the module that returns them as head=, or measure_features of what it takes"
    if fitting:
        remedy = "pass one of them as head=, or the module around them that returns the logits"
    raise NeuralCollapseError(
        "head",
        f"one linear layer whose output the model returns, to explain {what} of what it returns",
        f"{len(rivals)} of {of}: {', '.join(map(repr, ran)) or 'none'}",
        remedy,
    )


def is_returned(call: LayerCall, tensor: Tensor) -> bool:
    """Whether the tensor is the output of the layer, perhaps in another shape or precision."""
    left = call.logits if call.left is None else call.left
    return _same(tensor, left) or any(
        torch.equal(rows, logits.to(rows.dtype)) for rows, logits in _in_rows(tensor, call)
    )


def keeps_order(call: LayerCall, tensor: Tensor) -> bool:
    """Whether the tensor is the output after softmax, a scale, or any map that keeps the order."""
    for rows, scores in _in_rows(tensor, call):
        rows, scores = rows.double(), scores.double()
        if scores.shape[1] == 1:  # a single logit is compared over samples
            rows, scores = rows.T, scores.T
        known = rows.isfinite().all(1) & scores.isfinite().all(1)
        rows, scores = rows[known], scores[known]
        steps = rows.gather(1, scores.argsort(1)).diff()
        slack = 16 * torch.finfo(tensor.dtype).eps * rows.abs().amax(1, keepdim=True)
        flat = (rows.amax(1) == rows.amin(1)) & (scores.amax(1) > scores.amin(1))
        if bool((steps >= -slack).all()) and not bool(flat.any()):
            return True
    return False


def keeps_confidences(call: LayerCall, output: Any) -> bool:
    """Whether the network returns the logits of a call at their own scale.

    They may be shifted alike for every class, or be the softmax or log-softmax of the logits: all
    that leaves softmax as it is.

    Parameters
    ----------
    call
        A call of the head, as `reduced` returns it.
    output
        What the network returned.
    """
    _, returned = _returned(output)
    call = replace(call, left=None)  # what is returned may not be what the head gave
    return any(is_returned(call, tensor) or _same_softmax(call, tensor) for tensor in returned)


def decides(call: LayerCall, output: Any) -> bool:
    """Whether what the network returned ranks the classes as the logits of a call do."""
    return any(keeps_order(call, tensor) for tensor in _returned(output)[1])


def _same_softmax(call: LayerCall, tensor: Tensor) -> bool:
    for rows, scores in _in_rows(tensor, call):
        rows, scores = rows.double(), scores.double()
        # A single logit has no other class to be shifted with: sigmoid and its logarithm.
        logs = logsigmoid(scores) if scores.shape[1] == 1 else scores.log_softmax(1)
        shifted = rows if scores.shape[1] == 1 else rows.log_softmax(1)
        slack = 4 * torch.finfo(tensor.dtype).eps
        sizes = slack * torch.maximum(rows.abs(), scores.abs()).amax(1, keepdim=True)
        if bool(((shifted - logs).abs() <= sizes).all()):
            return True
        if bool(((rows - logs.exp()).abs() <= slack).all()):
            return True
    return False


def is_one_token(call: LayerCall, tensor: Tensor) -> bool:
    """Whether the tensor is the output of the layer at one token per sample."""
    return one_token(call, tensor) is not None


def one_token(call: LayerCall, tensor: Tensor) -> LayerCall | None:
    """Reduce a call on tokens, (n, T, d), to the token of each sample whose logits are returned."""
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
        If the layer has several positions per sample, and the network returns something else.
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
    expected = "features of shape (n, d), one row per sample, or logits returned for every position"
    got = f"{tuple(call.features.shape)} into {call.name!r}"
    remedy = "pool tokens or positions before the head, or pass another head="
    raise NeuralCollapseError("head", expected, got, remedy)


def tensors_of(output: Any) -> Iterator[Tensor]:
    """Yield every tensor in the output of a module, nested to any depth.

    Parameters
    ----------
    output
        A tensor, or a mapping, sequence or object that holds tensors.

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
    """Return whether an output names its logits, and these tensors, or else all tensors."""
    named = output.get("logits") if isinstance(output, Mapping) else None
    if named is None and not isinstance(output, (Tensor, Mapping)):
        named = getattr(output, "logits", None)
    tensors = tensors_of(output if named is None else named)
    return named is not None, [t.detach() if t.requires_grad else t for t in tensors]


def _makers(calls: list[LayerCall], tensor: Tensor) -> list[LayerCall]:
    """Return the calls that explain a tensor, by the first rule that holds for any.

    Where no module is built as a linear layer, those that act as one are taken.
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
    """Whether two tensors are views of the same numbers in memory."""
    return left is right or (
        left.shape == right.shape
        and left.stride() == right.stride()
        and left.dtype == right.dtype
        and left.data_ptr() == right.data_ptr()
        and left.numel() > 0
    )


def _has_classes(tensor: Tensor, head: LayerCall) -> bool:
    """Whether a tensor has K numbers per sample, as the output of a head has."""
    shapes = (head.logits.shape, head.logits[:, 0].shape)
    return tensor.is_floating_point() and tensor.ndim > 1 and tensor.shape in shapes


def _may_make(call: LayerCall, tensor: Tensor) -> bool:
    """Whether a tensor has the numbers of the output of a layer, whatever they are."""
    return _has_classes(tensor, call) or any(True for _ in _in_rows(tensor, call))


def _in_rows(tensor: Tensor, call: LayerCall) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows of a tensor, its classes last or second, with logits; at most `ROWS` of each."""
    num_classes, size = call.logits.shape[-1], call.logits.numel()
    if tensor.numel() != size or not size or not tensor.is_floating_point():
        return
    step = max(1, size // num_classes // ROWS)
    logits = call.logits.flatten(0, -2)[::step]
    if num_classes == 1 or tensor.shape[-1] == num_classes:
        yield tensor.reshape(-1, num_classes)[::step], logits
    if tensor.ndim > 2 and tensor.shape[1] == num_classes:
        yield tensor.movedim(1, -1).reshape(-1, num_classes)[::step], logits

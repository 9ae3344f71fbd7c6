"""A called layer as a head: its weight as it is applied, read and checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.layer_call import (
    CONVOLUTIONS,
    LayerCall,
    answers,
    base_layer,
    own_dtype,
    still,
)
from neuralcollapse.metrics.head import Head, two_sided

PROBE_BYTES = 2**26  # of the outputs of a layer that is probed for its rows, at once
NO_HEADS = (nn.Embedding, nn.EmbeddingBag, nn.MultiheadAttention, nn.RNNBase, nn.LayerNorm)
PLAIN = {nn.Linear.forward, *(kind.forward for kind in CONVOLUTIONS)}


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is built as a linear layer; modules inside it are parts of it.

    This includes linear layers of other libraries with a weight of their own, quantised ones,
    adapters around a base layer, and convolutions over a single position.
    """
    module = base_layer(module)
    if isinstance(module, CONVOLUTIONS):
        return set(module.kernel_size) == {1} and set(module.stride) == {1} and module.groups == 1
    if isinstance(module, nn.Linear):
        return True
    own = _own(module)
    weights = [name for name in own if name.split("_")[0] == "weight" and _is_matrix(own[name])]
    return not isinstance(module, NO_HEADS) and bool(weights or _is_packed(module))


def may_be_head(module: nn.Module) -> bool:
    """Return whether a module may apply a matrix of its own; `read_head` then checks its logits."""
    if is_linear(module):
        return True
    inner = any(True for child in module.children() for _ in child.parameters())
    matrices = any(map(_is_matrix, _own(module).values()))
    return matrices and not inner and not isinstance(module, NO_HEADS)


HeadReader = Callable[[LayerCall], Head | None]


def read_head(call: LayerCall) -> tuple[Head | None, HeadReader | None]:
    """Return the head that explains the logits of a call, and the reading that found it, or None.

    Logits must be :math:`h W^T + b` to 16 eps sqrt(d) |h| |w| in their own precision. The readings
    are tried in turn: the weight as it stands; the weight as the layer applies it, which is its
    answer to the unit vectors (adapters, packed weights); the same on features at norm 1 (cosine
    heads). A layer that uses torch's own forward is read by its weight first, any other by what it
    does.

    Parameters
    ----------
    call
        A call of the layer.

    Raises
    ------
    NeuralCollapseError
        If the weight holds no numbers, such as one on the meta device.

    Examples
    --------
    >>> layer, features = nn.Linear(2, 3), torch.ones(4, 2)
    >>> head, reading = read_head(LayerCall("fc", layer, features, layer(features).detach()))
    >>> head.name, reading.__name__
    ('fc', 'as_it_stands')
    """
    sample, module = call.rows(), call.module
    if sample.logits.is_meta:
        raise _unreadable(call, "on the meta device")
    if module.training and [*module.children()]:  # perhaps with dropout inside
        answer = answers(call, sample.features)
        sample = sample if answer is None else replace(sample, logits=answer)
    # Anything else a layer holds, such as an adapter that starts at zero, may matter later.
    alone = {*_own(module)} <= {"weight", "bias"} and not [*module.children()]
    own, applied = (as_it_stands,), (as_applied, at_unit_norm)
    first = alone or type(module).forward in PLAIN
    for reading in own + applied if first else applied + own:
        head = reading(sample)
        if head is not None and explains(head, sample):
            return head, reading
    return None, None


@contextmanager
def unsharded(model: nn.Module) -> Iterator[bool]:
    """Gather the weights of FullyShardedDataParallel for the block, on every process.

    All processes must enter. What is read inside must be copied to outlive the block.

    Parameters
    ----------
    model
        The network.

    Yields
    ------
    bool
        Whether there was anything to gather.
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")  # without which no network is sharded so
    if fsdp is None or not fsdp.FullyShardedDataParallel.fsdp_modules(model):
        yield False
        return
    with fsdp.FullyShardedDataParallel.summon_full_params(model, writeback=False):
        yield True


def as_it_stands(call: LayerCall) -> Head | None:
    """Read the weight itself: gathered if it is sharded, dequantised if it is quantised."""
    with still(call.module):
        weight, bias = (_plain(call, name) for name in ("weight", "bias"))
    if weight is None or weight.flatten(1).shape != (call.logits.shape[-1], call.features.shape[1]):
        return None
    return _head(call, weight.flatten(1), bias)


def as_applied(call: LayerCall) -> Head | None:
    """Read the affine map that a layer is: f(0) is its bias, f(e_i) - f(0) column i."""
    probed = _probe(call)
    return None if probed is None else _head(call, *probed)


def at_unit_norm(call: LayerCall) -> Head | None:
    """Read a cosine head, whose rows are its answers to the unit vectors."""
    probed = _probe(call)
    if probed is None:
        return None
    scale = float(probed[0].norm(dim=1).mean())
    return replace(_head(call, *probed), scale=scale)


def _head(call: LayerCall, weight: Tensor, bias: Tensor | None) -> Head:
    if len(weight) == 1:
        weight, bias = two_sided(weight), None if bias is None else two_sided(bias)
    return Head(call.name, weight, bias)


def _plain(call: LayerCall, name: str) -> Tensor | None:
    """Return the weight or bias of a layer as floats on this process, if it has one."""
    value = getattr(call.module, name, None)
    value = value() if callable(value) else value
    if not isinstance(value, Tensor):
        return None
    value = value.detach()
    if hasattr(value, "full_tensor"):  # a DTensor, of which each process holds a part
        value = value.full_tensor()
    elif not value.is_meta and value.numel() and not value.untyped_storage().nbytes():
        raise _unreadable(call, "whose weight other processes hold")
    if value.is_quantized or (type(value) is not Tensor and hasattr(value, "dequantize")):
        value = value.dequantize()
    return value if value.is_floating_point() and not value.is_meta else None


def _probe(call: LayerCall) -> tuple[Tensor, Tensor | None] | None:
    """Probe a layer for its bias and columns, in parts; None if it does not return K numbers."""
    dim, num_logits = call.features.shape[1], call.logits.shape[-1]
    eye = torch.eye(dim, dtype=own_dtype(call), device=call.features.device)
    parts = []
    for rows in (torch.zeros_like(eye[:1]), *eye.split(max(1, PROBE_BYTES // (8 * num_logits)))):
        answer = answers(call, rows)
        if answer is None:
            return None
        parts.append(answer)
    bias = parts[0][0].nan_to_num()  # without an epsilon, a cosine head has none at 0
    weight = (torch.cat(parts[1:]) - bias).T
    return weight, bias if bool(bias.any()) else None


def explains(head: Head, call: LayerCall) -> bool:
    """Return whether the logits of a call are those of a head, to the rounding of their precision.

    Parameters
    ----------
    head
        The head.
    call
        A call of the layer, with rows of features (n, d).
    """
    wide = call.logits.dtype == torch.float64 or call.logits.dtype == torch.float32
    exact = torch.float64 if wide else torch.float32
    with torch.autocast(call.logits.device.type, enabled=False):
        features = head.features(call.features.to(exact))
        weight = head.weight.to(features)
        bias = None if head.bias is None else head.bias.to(features)
        expected = replace(head, weight=weight, bias=bias).logits(features)
        logits = call.two_sided().to(exact)
        sizes = features.norm(dim=1, keepdim=True) * weight.norm(dim=1)
        sizes = sizes if bias is None else sizes + bias.abs()
        bound = 16 * _eps(head, call) * head.dim**0.5 * sizes
        known = logits.isfinite() & expected.isfinite()  # the others are refused when gathered
        return bool((((logits - expected).abs() <= bound) | ~known).all())


def _eps(head: Head, call: LayerCall) -> float:
    """Return the machine epsilon of the coarsest precision that the product goes through."""
    kinds = {part.dtype for part in (head.weight, call.features, call.logits)}
    eps = max(torch.finfo(kind).eps for kind in kinds)
    if _is_packed(call.module):
        eps = max(eps, 2.0**-7)  # whose features are quantised to 8 bits as well
    if call.logits.is_cuda and (
        torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    ):
        eps = max(eps, 2.0**-10)
    return eps


def _own(module: nn.Module) -> dict[str, Tensor | None]:
    return {**module._parameters, **module._buffers}


def _is_packed(module: nn.Module) -> bool:
    """Whether the weight is a method, as in torch's quantised layers."""
    return hasattr(module, "in_features") and callable(getattr(type(module), "weight", None))


def _is_matrix(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2 and value.is_floating_point()


def _unreadable(call: LayerCall, why: str) -> NeuralCollapseError:
    got = f"{type(call.module).__name__} {why}"
    remedy = "load its weight, or measure the features with measure_features"
    return NeuralCollapseError(f"head {call.name!r}", "a weight with numbers", got, remedy)

"""One call of a layer: what entered and left it, and what the layer answers to other rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.head import two_sided

TICKS = itertools.count()
ROWS = 256  # of a batch, on which a head is checked
CHECKED = 2**19  # logits of them, where classes are many
LOOKED_AT = 2**17  # about as many numbers tell of changes that torch does not count
INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
Mark = tuple[int, Tensor | None, Tensor | None]  # version, sums of columns, sum of all, or None


@dataclass(frozen=True, eq=False)
class LayerCall:
    """One call of a layer during a forward pass.

    Attributes
    ----------
    name
        As in ``model.named_modules()``.
    module
        The layer.
    features
        (n, ..., d) input, with the channels of maps last.
    logits
        (n, ..., K) output, likewise.
    tick
        Its position among all calls that taps have recorded.
    left
        The output itself, if the network changed it in place and `logits` are computed anew.
    """

    name: str
    module: nn.Module
    features: Tensor
    logits: Tensor
    tick: int = field(default_factory=TICKS.__next__)
    left: Tensor | None = None
    marks: tuple[Mark, Mark] = field(init=False)  # which tell of later changes

    def __post_init__(self) -> None:
        # Logits are many, and can be had again: whatever is written to them counts as a change.
        marks = _mark(self.features, whole=True), _mark(self.logits, whole=False)
        object.__setattr__(self, "marks", marks)

    def as_given(self) -> LayerCall | None:
        """Return the call as the layer gave it; None if what changed in place cannot be had again.

        Logits can: the layer answers anew.
        """
        entered, left = self.marks
        if not _stayed(self.features, entered):
            return None
        if _stayed(self.logits, left):
            return self
        answer = answers(self, self.features.flatten(0, -2).to(own_dtype(self)))
        if answer is None:
            return None
        return replace(self, logits=answer.view_as(self.logits).to(self.logits), left=self.logits)

    def held(self) -> LayerCall:
        """Return the call as far as it is known when the network returns.

        Its logits are its own while a network trains, since what trains it may change them.
        """
        given = self.as_given()
        if given is self and torch.is_grad_enabled():
            return replace(self, logits=self.logits.clone(), left=self.logits)
        return self if given is None else given

    @property
    def num_classes(self) -> int:
        """K: two for a layer with one logit."""
        return max(self.logits.shape[-1], 2)

    def rows(self) -> LayerCall:
        """Return the call with at most `ROWS` of its rows, (n, d) and (n, K)."""
        features, logits = (part.flatten(0, -2) for part in (self.features, self.logits))
        most = min(ROWS, max(ROWS // 16, CHECKED // logits.shape[1]))
        step = max(1, len(features) // most)
        return replace(self, features=features[::step][:most], logits=logits[::step][:most])

    def two_sided(self) -> Tensor:
        """Return (..., K) logits: -z/2 and z/2 of a layer with one logit z."""
        return self.logits if self.logits.shape[-1] > 1 else two_sided(self.logits, -1)


def layer_call(name: str, module: nn.Module, entered: Any, left: Any) -> LayerCall | None:
    """Return a call of a layer, with channels last; None unless it maps rows of floats to such."""
    if not all(isinstance(t, Tensor) and t.is_floating_point() and t.ndim for t in (entered, left)):
        return None
    entered, left = entered.detach(), left.detach()
    if is_functorch_wrapped_tensor(left):
        expected, got = "a network called as it is", "a call inside a transform of torch.func"
        remedy = "call it on the whole batch, outside of vmap, grad and jvp"
        raise NeuralCollapseError("forward", expected, got, remedy)
    if isinstance(base_layer(module), CONVOLUTIONS):
        entered, left = entered.movedim(1, -1), left.movedim(1, -1)
    if entered.ndim == 1 or left.ndim == 1:
        return None
    if left.is_inference():  # in which the network may change both: copies stay as they are
        return LayerCall(name, module, entered.clone(), left.clone(), left=left)
    return LayerCall(name, module, entered, left)


def _mark(part: Tensor, whole: bool) -> Mark:
    """Return the version of a tensor and, if its numbers are here, sums of their bits."""
    version = 0 if part.is_inference() else part._version
    if part.is_meta or type(part) is not Tensor:  # without numbers, or with some elsewhere
        return version, None, None
    return version, _column_sums(part), _sum(part) if whole else None


def _stayed(part: Tensor, mark: Mark) -> bool:
    """Return whether a tensor is as it was when marked.

    Its version tells of every write to its memory, also to other parts of it, but of none through
    NumPy or ``.data``. So its numbers decide: all of them if it was written to and their sum is
    known, else some rows.
    """
    version, columns, total = mark
    if columns is not None and not torch.equal(_column_sums(part), columns):
        return False
    now = 0 if part.is_inference() else part._version
    return now == version or (total is not None and torch.equal(_sum(part), total))


def _sum(part: Tensor) -> Tensor:
    """Return the sum of all bits, in integers that wrap around: wider ones take far longer."""
    bits = part.view(INTEGERS[part.itemsize])
    return bits.sum(dtype=bits.dtype)


def _column_sums(part: Tensor) -> Tensor:
    """Return the sums of the bits of each column of a tensor; of many rows, of some."""
    some = part.view(INTEGERS[part.itemsize])[:: max(1, part.numel() // LOOKED_AT)].flatten(0, -2)
    rows = some[:: max(1, some.numel() // LOOKED_AT)]
    # Each of an even number of rows times two, say, could wrap around to no change at all.
    again = rows[: 1 - len(rows) % 2]
    return rows.sum(0, dtype=torch.int64) + again.sum(0, dtype=torch.int64)


def own_dtype(call: LayerCall) -> torch.dtype:
    """Return the precision of the parameters of a layer; that of its features without any.

    Parameters
    ----------
    call
        A call of the layer.
    """
    own = [p.dtype for p in call.module.parameters() if p.is_floating_point() and not p.is_meta]
    return own[0] if own else call.features.dtype


def answers(call: LayerCall, rows: Tensor) -> Tensor | None:
    """Return the output (n, K) of a layer at rest for (n, d) rows; None for another shape.

    Parameters
    ----------
    call
        An earlier call of the layer.
    rows
        What it is called with now.
    """
    base, num_logits = base_layer(call.module), call.logits.shape[-1]
    positions = (1,) * len(base.kernel_size) if isinstance(base, CONVOLUTIONS) else ()
    with still(call.module), torch.no_grad():
        answer = call.module.forward(rows.reshape(*rows.shape, *positions))
    if not isinstance(answer, Tensor) or answer.numel() != len(rows) * num_logits:
        return None
    return answer.detach().reshape(len(rows), num_logits)


@contextmanager
def still(module: nn.Module) -> Iterator[None]:
    """Stop dropout and power iterations inside a layer, without calling `train`.

    Parameters
    ----------
    module
        The layer.
    """
    modes = {part: part.training for part in module.modules()}
    for part in modes:
        part.training = False
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def base_layer(module: nn.Module) -> nn.Module:
    """Return the layer inside an adapter, or the module itself."""
    while "base_layer" in module._modules:
        module = module.get_submodule("base_layer")
    return module

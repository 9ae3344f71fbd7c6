"""Matrices that a network applies without a layer of their own, such as tied embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from neuralcollapse.measurement.layer_call import LayerCall, layer_call

PRODUCTS = {
    linear,
    torch.matmul,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
    torch.mm,
    torch.Tensor.mm,
    torch.einsum,
    torch.addmm,
    torch.Tensor.addmm,
}
BIASED = {linear, torch.addmm, torch.Tensor.addmm}
SUMS = {
    torch.add,
    torch.Tensor.add,
    torch.Tensor.add_,
    torch.Tensor.__add__,
    torch.Tensor.__radd__,
    torch.Tensor.__iadd__,
}
PLAIN = (Tensor, nn.Parameter)  # neither sharded nor uninitialised


class AppliedMatrix(nn.Module):
    """A matrix of a network, in the form of a layer that applies it.

    Parameters
    ----------
    matrix
        (K, d), or (d, K) if `turned`: the network's own, not a copy.
    bias
        (K,) or None.
    turned
        Whether the matrix is (d, K).

    Examples
    --------
    >>> AppliedMatrix(torch.ones(2, 3), None)(torch.ones(1, 3))
    tensor([[3., 3.]])
    """

    forward: Callable[..., Any] = nn.Linear.forward  # so that it is read as a linear layer

    def __init__(self, matrix: Tensor, bias: Tensor | None, turned: bool = False) -> None:
        super().__init__()
        self.weight_matrix, self.bias, self.turned = matrix, bias, turned

    @property
    def weight(self) -> Tensor:
        """The current weight, (K, d)."""
        return self.weight_matrix.T if self.turned else self.weight_matrix


class HeardProducts(TorchFunctionMode):
    """Report every product with one of a network's matrices; a context manager.

    Parameters
    ----------
    matrices
        The matrices by name.
    hear
        Called with each product as a call of an `AppliedMatrix`, the same one every time; and again
        if a parameter (K,) is added to it, with the call that has it as bias, and the former one.

    Examples
    --------
    >>> words, calls = torch.ones(5, 2), []
    >>> with HeardProducts({"words": words}, lambda call, former: calls.append(call)):
    ...     _ = torch.zeros(3, 2) @ words.T
    >>> calls[0].name, calls[0].logits.shape
    ('words', torch.Size([3, 5]))
    """

    def __init__(
        self, matrices: Mapping[str, Tensor], hear: Callable[[LayerCall, LayerCall | None], None]
    ) -> None:
        super().__init__()
        self._named = {matrix: name for name, matrix in matrices.items()}
        self._hear = hear
        self._applied: dict[tuple[Tensor, Tensor | None, bool], AppliedMatrix] = {}
        self._last: tuple[Tensor, LayerCall] | None = None  # a product, and how it was reported

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run a function of torch, and report it if it is a product with a matrix."""
        left = func(*args, **(kwargs or {}))
        if func not in PRODUCTS and func not in SUMS:
            return left
        given = [t for t in (*args, *(kwargs or {}).values()) if isinstance(t, Tensor)]
        if func in SUMS:
            self._added(given, left)
        else:
            if func is not linear and func in BIASED:  # which take what they add first
                given.append(given.pop(0))
            self._told(given, given[2:] if func in BIASED else [], left)
        return left

    def _told(self, given: list[Tensor], bias: list[Tensor], left: Tensor) -> None:
        for factor, entered in (given[1::-1], given[:2]):
            matrix = next((m for m in self._named if _shares(m, factor)), None)
            if matrix is None or not (entered.ndim and left.ndim):
                continue
            sizes = (left.shape[-1], entered.shape[-1])
            turned = matrix.shape != sizes
            if turned and matrix.shape != sizes[::-1]:
                continue
            self._report(matrix, bias[0] if bias else None, turned, entered, left)
            return

    def _added(self, given: list[Tensor], left: Tensor) -> None:
        """Report a product anew if what is added to it is its bias."""
        if self._last is None or len(given) != 2:
            return
        product, former = self._last
        bias = given[0] if given[1] is product else given[1]
        known = any(part is product for part in given) and isinstance(bias, nn.Parameter)
        applied = former.module
        if known and isinstance(applied, AppliedMatrix) and bias.shape == former.logits.shape[-1:]:
            matrix, turned = applied.weight_matrix, applied.turned
            self._report(matrix, bias, turned, former.features, left, former)

    def _report(
        self,
        matrix: Tensor,
        bias: Tensor | None,
        turned: bool,
        entered: Tensor,
        left: Tensor,
        former: LayerCall | None = None,
    ) -> None:
        key = (matrix, bias, turned)
        if key not in self._applied:
            self._applied[key] = AppliedMatrix(*key)
        call = layer_call(self._named[matrix], self._applied[key], entered, left)
        if call is not None:
            self._last = (left, call) if bias is None else None
            self._hear(call, former)

    def __exit__(self, *error: Any) -> None:
        """Let go of the last product."""
        self._last = None
        super().__exit__(*error)


def bare_matrices(model: nn.Module, heard: Iterable[nn.Module]) -> dict[str, Tensor]:
    """Return the matrices of a network that belong to none of the given layers.

    Parameters
    ----------
    model
        The network.
    heard
        Its layers that are hooked. What they hold, or share with others, belongs to them.

    Examples
    --------
    >>> model = nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 3))
    >>> [*bare_matrices(model, [model[1]])]
    ['0.weight']
    """
    taken = {id(t) for layer in heard for t in (*layer.parameters(), *layer.buffers())}
    named = (*model.named_parameters(), *model.named_buffers())
    free = {name: t for name, t in named if id(t) not in taken and type(t) in PLAIN}
    return {n: t for n, t in free.items() if t.ndim == 2 and t.is_floating_point()}


def _shares(matrix: Tensor, factor: Tensor) -> bool:
    """Whether a factor is the matrix, or its transpose, in the same memory."""
    return factor is matrix or (
        factor.ndim == 2
        and factor.numel() == matrix.numel() > 0
        and factor.device == matrix.device
        and factor.dtype == matrix.dtype
        and factor.data_ptr() == matrix.data_ptr()
    )

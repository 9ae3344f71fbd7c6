"""FeatureTap: what enters and leaves the last linear layer of a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError


@dataclass(frozen=True)
class _Call:
    """One call of a linear layer during a forward pass."""

    name: str
    module: nn.Module
    features: Tensor
    logits: Tensor


class FeatureTap:
    """Catch the input and output of a network's head while it runs; a context manager.

    Whatever the network returns (a tensor, a tuple, a dict), features and logits are taken at the
    head itself. Without `head`, the first forward pass finds it: the linear layer whose output the
    network returns, or, if it returns something made from it, the only one with an output of the
    same shape. Hooks are removed when the context ends, also by an exception.

    Parameters
    ----------
    model
        The network.
    head
        The last linear layer, or its name as in ``model.named_modules()``: any module with a
        ``weight`` of shape (K, d) that is called with features (n, d).

    Raises
    ------
    NeuralCollapseError
        If `head` is not in the model or has no such weight; when the network runs, if there is no
        linear layer, or several could be the head (all are listed).

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> with FeatureTap(model) as tap:
    ...     _ = model(torch.zeros(7, 5))
    ...     features, logits = tap.take()
    >>> tap.name, features.shape, logits.shape
    ('2', torch.Size([7, 3]), torch.Size([7, 2]))
    """

    def __init__(self, model: nn.Module, head: nn.Module | str | None = None) -> None:
        self.model = model
        self.name = ""
        self._head: nn.Module | None = None
        self._calls: list[_Call] = []
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        if head is not None:
            self.name, self._head = _find(model, head)

    @property
    def head(self) -> nn.Module:
        """The last linear layer."""
        if self._head is None:
            raise NeuralCollapseError(
                "head", "a network that has run once", "none yet", "call the model, then take()"
            )
        return self._head

    @property
    def weight(self) -> Float[Tensor, "K d"]:
        """Weight of the head, (K, d), detached."""
        weight = self.head.weight  # of a fixed head, a buffer
        assert isinstance(weight, Tensor)
        return weight.detach()

    @property
    def bias(self) -> Float[Tensor, " K"] | None:
        """Bias of the head, (K,), detached; None if it has none."""
        bias = getattr(self.head, "bias", None)
        return bias.detach() if isinstance(bias, Tensor) else None

    def __enter__(self) -> FeatureTap:
        if self._head is not None:
            self._watch(self.name, self._head)
        else:
            for name, module in self.model.named_modules():
                if isinstance(module, nn.Linear):
                    self._watch(name, module)
            # Registered last, so that it runs after the hook of a model that is its own head.
            self._hooks.append(self.model.register_forward_hook(self._choose))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._calls.clear()

    def take(self) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n K"]]:
        """Return (features, logits) of the forward pass since the last call.

        Raises
        ------
        NeuralCollapseError
            If the head was not called exactly once, or its input is no (n, d) matrix.
        """
        calls, self._calls = self._calls, []
        if len(calls) != 1:
            raise NeuralCollapseError(
                "head",
                "one call in each forward pass",
                f"{len(calls)} calls of {self.name!r}",
                "pass the layer that is called once as head=",
            )
        features, logits = calls[0].features.detach(), calls[0].logits.detach()
        if features.ndim != 2:
            raise NeuralCollapseError(
                "head",
                "features of shape (n, d), one row a sample",
                f"{tuple(features.shape)} into {self.name!r}",
                "pool tokens or positions before the head, or pass another head=",
            )
        return features, logits

    def _watch(self, name: str, module: nn.Module) -> None:
        def catch(layer: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
            features = args[0] if args else next(iter(kwargs.values()))
            self._calls.append(_Call(name, layer, features, output))

        self._hooks.append(module.register_forward_hook(catch, with_kwargs=True))

    def _choose(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Find the head among the linear layers that were called, and watch it alone."""
        if not self._calls:
            raise NeuralCollapseError(
                "model",
                "a linear head (nn.Linear)",
                "none was called",
                "pass the last layer as head=, a module or its name, with a weight of shape (K, d)",
            )
        returned = list(_tensors(output))
        matches = [call for call in self._calls if any(call.logits is t for t in returned)]
        if not matches:
            shapes = {tensor.shape for tensor in returned if tensor.ndim > 1}
            matches = [call for call in self._calls if call.logits.shape in shapes]
        names = dict.fromkeys(call.name for call in matches)
        if len(names) != 1:
            listed = names or dict.fromkeys(call.name for call in self._calls)
            raise NeuralCollapseError(
                "head",
                "one linear layer whose output the model returns",
                f"{len(names)} of these candidates: {', '.join(map(repr, listed))}",
                "pass one of them as head=",
            )
        self.name, self._head = matches[0].name, matches[0].module
        self._calls = matches
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._watch(self.name, self._head)


def _find(model: nn.Module, head: nn.Module | str) -> tuple[str, nn.Module]:
    modules = dict(model.named_modules())
    found = [
        (name, module)
        for name, module in modules.items()
        if (name == head if isinstance(head, str) else module is head)
    ]
    linear = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    if not found:
        raise NeuralCollapseError(
            "head",
            "a layer of the model",
            repr(head),
            f"its linear layers are: {', '.join(map(repr, linear)) or 'none'}",
        )
    weight = getattr(found[0][1], "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise NeuralCollapseError(
            "head",
            "a layer with a weight of shape (K, d)",
            f"{type(found[0][1]).__name__} {found[0][0]!r}",
            f"its linear layers are: {', '.join(map(repr, linear)) or 'none'}",
        )
    return found[0]


def _tensors(output: Any) -> Iterator[Tensor]:
    """Every tensor in what a model returned, however nested."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from _tensors(value)
    elif hasattr(output, "__dict__"):
        yield from _tensors(vars(output))

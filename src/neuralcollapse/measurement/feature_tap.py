"""FeatureTap: what enters and leaves the last linear layer of a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
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
    network returns, under the name `logits` if it names it; or, if it returns something made from
    it, the only one with an output of the same shape; or the one that the network's
    ``get_classifier()`` returns, as in timm. A head that is applied to every token, as in the
    decoders of transformers, gives one row a sample: the token whose logits are returned. Hooks
    are removed when the context ends, also by an exception.

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
            self._attend(self.name, self._head)
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
        returned = list(tensors_of(_logits_of(output)))
        matches = [call for call in self._calls if any(call.logits is t for t in returned)]
        if not matches:
            shapes = {tensor.shape for tensor in returned if tensor.ndim > 1}
            matches = [call for call in self._calls if call.logits.shape in shapes]
        if not matches:
            matches = [call for call in self._calls if _of_one_token(call, returned) is not call]
        if len({call.name for call in matches}) != 1:
            classifier = getattr(model, "get_classifier", lambda: None)()
            matches = [call for call in self._calls if call.module is classifier] or matches
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
        self._pick(model, args, output)
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._attend(self.name, self._head)

    def _attend(self, name: str, head: nn.Module) -> None:
        """Watch the head, and what the model returns, which may be the logits of one token."""
        self._watch(name, head)
        # Registered last, so that it runs after the hook of a model that is its own head.
        self._hooks.append(self.model.register_forward_hook(self._pick))

    def _pick(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if any(call.logits.ndim == 3 for call in self._calls):
            returned = list(tensors_of(_logits_of(output)))
            self._calls = [_of_one_token(call, returned) for call in self._calls]


def _of_one_token(call: _Call, returned: list[Tensor]) -> _Call:
    """Reduce a call with tokens (n, T, d) to those whose logits are returned; else leave it."""
    if call.logits.ndim != 3:
        return call
    for logits in returned:
        if logits.shape == call.logits[:, 0].shape:
            found = (call.logits == logits[:, None]).all(2)
            if bool(found.any(1).all()):
                rows, tokens = torch.arange(len(logits)), found.int().argmax(1).cpu()
                return replace(call, features=call.features[rows, tokens], logits=logits)
    return call


def _logits_of(output: Any) -> Any:
    """Return what the output calls its logits; all of it if it calls nothing so."""
    named = output.get("logits") if isinstance(output, Mapping) else None
    if named is None and not isinstance(output, (Tensor, Mapping)):
        named = getattr(output, "logits", None)
    return output if named is None else named


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
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors_of(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from tensors_of(value)
    elif hasattr(output, "__dict__"):
        yield from tensors_of(vars(output))

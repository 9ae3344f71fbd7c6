"""The modules of a network that may be its head, and the one that is asked for by name."""

from __future__ import annotations

from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.head import is_linear, may_be_head
from neuralcollapse.measurement.layer_call import base_layer


def head_candidates(model: nn.Module) -> dict[nn.Module, str]:
    """Return the modules that may be the head; nothing inside one that is a linear layer.

    Parameters
    ----------
    model
        The network.
    """
    found: dict[nn.Module, str] = {}
    inside = ""
    for name, module in model.named_modules():  # parents come first
        if inside and name.startswith(inside):
            continue
        if may_be_head(module):
            found[module] = name
            inside = f"{name}." if is_linear(module) and name else ""
    return found


def named_head(model: nn.Module, head: nn.Module | str) -> tuple[str, nn.Module]:
    """Return the name of the head that is asked for, and the head.

    Parameters
    ----------
    model
        The network.
    head
        The head, or its name.

    Raises
    ------
    NeuralCollapseError
        If it is not in the network, has no weight, or is a part of a layer.
    """
    modules = dict(model.named_modules())
    found = [(n, module) for n, module in modules.items() if head is module or head == n]
    candidates = head_candidates(model)
    linear = [name for module, name in candidates.items() if is_linear(module)]
    listed = f"its linear layers are: {', '.join(map(repr, linear)) or 'none'}"
    if not found:
        raise NeuralCollapseError("head", "a layer of the model", repr(head), listed)
    name, module = found[0]
    around = (outer for other, outer in candidates.items() if base_layer(other) is module)
    whole = next(around, name)
    if whole != name:
        raise NeuralCollapseError(
            "head", "a whole layer", f"{name!r}, a part of {whole!r}", f"pass head={whole!r}"
        )
    holds_one = module is not model and any(map(is_linear, module.modules()))
    if not may_be_head(module) and not holds_one:
        raise no_head(name, module, listed)
    return name, module


def no_head(name: str, module: nn.Module, remedy: str) -> NeuralCollapseError:
    """Return the error of a module that is no head.

    Parameters
    ----------
    name, module
        The module.
    remedy
        What to do.
    """
    got = f"{type(module).__name__} {name!r}"
    return NeuralCollapseError("head", "a layer with a weight of shape (K, d)", got, remedy)

"""Which layers of a network to measure by default."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from neuralcollapse.errors import NeuralCollapseError

# In torch.nn.modules.activation, but not activations of hidden layers.
NO_ACTIVATIONS = (nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)


def default_layers(model: nn.Module) -> list[str]:
    """Return the names of the layers whose outputs make up a profile.

    The blocks, if the network repeats any: modules of one class, side by side in a ``Sequential``
    or ``ModuleList`` and with submodules, such as the blocks of a ResNet or the layers of a
    transformer; blocks inside blocks are left out. Otherwise the activations. Otherwise, in a
    linear network, all layers with a weight matrix except the last.

    Parameters
    ----------
    model
        The network.

    Returns
    -------
    list of str
        Names as in ``model.named_modules()``; empty if there are none of these.

    Examples
    --------
    >>> from torch import nn
    >>> from neuralcollapse.measurement import default_layers
    >>> default_layers(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3)))
    ['1']
    """
    kinds = {
        kind
        for container in model.modules()
        if isinstance(container, (nn.Sequential, nn.ModuleList))
        for kind in _repeated(container)
    }
    blocks = [name for name, module in model.named_modules() if type(module) in kinds]
    if blocks:
        return _outermost(blocks)
    named = list(model.named_modules())
    activations = [name for name, module in named if _is_activation(module)]
    if activations:
        return activations
    weighted = [
        name
        for name, module in named
        if not list(module.children()) and getattr(module, "weight", None) is not None
        if module.weight.ndim > 1
    ]
    return weighted[:-1]


def checked_layers(model: nn.Module, layers: Sequence[str] | None) -> list[str]:
    """Return the names of the layers to measure: the given ones, or the defaults.

    Parameters
    ----------
    model
        The network.
    layers
        Names as in ``model.named_modules()``; the default layers if None.

    Raises
    ------
    NeuralCollapseError
        If a name is not in the model, or there is none.
    """
    given = [layers] if isinstance(layers, str) else layers
    names = default_layers(model) if given is None else list(given)
    known = [name for name, _ in model.named_modules()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        got = ", ".join(map(repr, unknown)) or "none"
        remedy = f"choose among {', '.join(map(repr, known[1:]))}"
        raise NeuralCollapseError("layers", "names of modules of the model", got, remedy)
    return names


def _repeated(container: nn.Sequential | nn.ModuleList) -> set[type[nn.Module]]:
    children = list(container)
    kinds = {type(child) for child in children}
    if len(children) < 2 or len(kinds) > 1 or kinds & {nn.Sequential, nn.ModuleList}:
        return set()
    return {type(child) for child in children if list(child.children())}


def _outermost(names: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for name in names:  # in the order of named_modules, parents come first
        if not any(name.startswith(f"{parent}.") for parent in kept):
            kept.append(name)
    return kept


def _is_activation(module: nn.Module) -> bool:
    known = type(module).__module__ == "torch.nn.modules.activation"
    return known and not isinstance(module, NO_ACTIVATIONS)

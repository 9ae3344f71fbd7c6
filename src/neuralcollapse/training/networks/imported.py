"""Networks of other packages, or of the user's own, by import path."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.import_path import failed, imported


class LogitsOnly(nn.Module):
    """A model whose output carries `logits`, as those of transformers do, reduced to them.

    Parameters
    ----------
    model
        Called with the images as its first argument.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return self.model(images).logits


def imported_network(
    path: str, input_shape: tuple[int, ...], num_classes: int, width: float, head_bias: bool
) -> nn.Module:
    """Return the network that ``package.module:callable`` makes.

    The callable gets ``num_classes``, and, of what else is known, what its signature names:
    ``input_shape``, ``in_channels`` (``in_chans``, ``num_channels``), ``image_size``
    (``img_size``), ``width``, ``head_bias``. Behind ``**kwargs`` only ``num_classes`` is passed.

    Parameters
    ----------
    path
        Such as ``"timm.models:resnet18"`` or ``"my_models:small_vit"``.
    input_shape
        (channels, height, width) of an image.
    num_classes
        K, the number of logits.
    width, head_bias
        Refused, unless 1 and True, where the callable takes no such argument.

    Returns
    -------
    Module
        From images to (n, K) logits; a model that returns an object with ``logits`` is wrapped.

    Raises
    ------
    NeuralCollapseError
        If the path leads nowhere, the callable does not take ``num_classes`` or fails, what it
        returns is no module, or two blank images do not give (2, K) logits.

    Examples
    --------
    >>> imported_network("torch.nn:Identity", (1, 8, 8), 10, 1.0, True)
    Traceback (most recent call last):
    ...
    neuralcollapse.errors.NeuralCollapseError: net: expected two rows of 10 logits for two images of
    shape (1, 8, 8), got shape (2, 1, 8, 8) from torch.nn:Identity; return logits (n, num_classes)
    """
    maker = imported("net", path)
    known: dict[str, Any] = {"input_shape": input_shape, "width": width, "head_bias": head_bias}
    known |= dict.fromkeys(("in_channels", "in_chans", "num_channels"), input_shape[0])
    known |= dict.fromkeys(("image_size", "img_size"), input_shape[-1])
    accepted = _accepted(path, maker)
    for name, default in (("width", 1), ("head_bias", True)):
        if name not in accepted and known[name] != default:
            raise NeuralCollapseError(
                name, f"{default}: {path} takes no {name}", repr(known[name]), "leave it out"
            )
    arguments = {name: value for name, value in known.items() if name in accepted}
    try:
        model = maker(num_classes=num_classes, **arguments)
    except Exception as error:  # of code that is not ours
        raise failed("net", f"{path} to make a network of {num_classes} classes", error) from error
    if not isinstance(model, nn.Module):
        got = f"{type(model).__name__} from {path}"
        raise NeuralCollapseError("net", "a torch.nn.Module", got, "return the network")
    return _checked(path, model, input_shape, num_classes)


def _accepted(path: str, maker: Callable[..., Any]) -> set[str]:
    """Return the names of the keyword arguments; refuse a callable that takes no num_classes."""
    try:
        parameters = inspect.signature(maker).parameters.values()
    except ValueError:  # some callables written in C have no signature
        parameters = {}.values()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = {parameter.name for parameter in parameters if parameter.kind in by_name}
    rest = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    if "num_classes" not in names and not rest:
        got = f"the arguments {', '.join(sorted(names)) or '(none)'}"
        remedy = "name a function of num_classes that returns the network"
        raise NeuralCollapseError("net", f"{path} to take num_classes", got, remedy)
    return names


def _checked(
    path: str, model: nn.Module, input_shape: tuple[int, ...], num_classes: int
) -> nn.Module:
    """Run two blank images through, in evaluation mode, and see that logits come out."""
    model.eval()
    try:
        with torch.no_grad():
            output = model(torch.zeros(2, *input_shape))
    except Exception as error:  # of code that is not ours
        raise failed("net", f"{path} to take images of shape {input_shape}", error) from error
    model.train()
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor) or logits.shape != (2, num_classes):
        is_tensor = isinstance(logits, Tensor)
        got = f"shape {tuple(logits.shape)}" if is_tensor else type(logits).__name__
        expected = f"two rows of {num_classes} logits for two images of shape {input_shape}"
        got = f"{got} from {path}"
        raise NeuralCollapseError("net", expected, got, "return logits (n, num_classes)")
    return model if logits is output else LogitsOnly(model)

"""A network at rest: evaluated without gradients, with everything restored afterwards."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader

from neuralcollapse.errors import NeuralCollapseError

WEIGHT_BUDGET = 2**29  # bytes of weights that are copied, to be put back
WRAPPERS = (DataParallel, DistributedDataParallel)
# Attributes in which a loader keeps what draws, reads or changes its samples.
INNER = (
    "sampler",
    "batch_sampler",
    "dataset",
    "base_sampler",
    "base_loader",
    "base_dataloader",
    "datasets",
    "collate_fn",
    "transform",
    "target_transform",
    "transforms",
)


def bare(model: Any) -> Any:
    """Return a network without the wrappers that compile it or spread it over devices.

    Parameters
    ----------
    model
        A network, or what `torch.compile`, `DataParallel` or `DistributedDataParallel` made of it.

    Examples
    --------
    >>> layer = nn.Linear(1, 1)
    >>> bare(nn.DataParallel(layer)) is layer
    True
    """
    while True:
        if isinstance(model, WRAPPERS):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        else:
            return model


def checked_network(model: Any) -> nn.Module:
    """Return the bare network, if hooks on its modules are called as it runs.

    Parameters
    ----------
    model
        What is to be measured.

    Raises
    ------
    NeuralCollapseError
        If it is a TorchScript module, an exported program, or not a module.
    """
    model = bare(model)
    if not isinstance(model, nn.Module):
        remedy = "pass the network itself, or its features to measure_features"
        raise NeuralCollapseError("model", "an nn.Module", type(model).__name__, remedy)
    # An exported program is a module whose eval is replaced.
    if isinstance(model, torch.jit.ScriptModule) or "eval" in vars(model):
        got = f"{type(model).__name__}, whose layers call no hooks"
        remedy = "pass the module it was made from, or its features to measure_features"
        raise NeuralCollapseError("model", "an nn.Module that runs its own modules", got, remedy)
    return model


def is_compiled(model: nn.Module) -> bool:
    """Return whether a network, or a part of it, runs compiled and so calls no hooks."""
    return any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


@contextmanager
def evaluating(
    model: Any, device: torch.device | str | None = None, *loaders: Any
) -> Iterator[torch.device]:
    """Evaluate without gradients, and eagerly; restore everything at the end.

    What is restored: the modes, through ``train(mode)`` of each module, parents first, so that a
    module that changes its weights in evaluation mode changes them back; these weights, all others
    if they take at most 512 MiB together, and the buffers of the state dict, bit for bit; the
    device; the random states of torch, numpy and
    Python; and the generators and epochs of the loaders, their samplers and data sets. Loaders with
    ``persistent_workers`` get workers of their own meanwhile. States that a sampler keeps elsewhere
    cannot be reached.

    Parameters
    ----------
    model
        The network.
    device
        Where to run; the device of the model if None.
    loaders
        The loaders whose batches are read inside.

    Yields
    ------
    torch.device
        The device of the model.

    Raises
    ------
    NeuralCollapseError
        If hooks on the modules of the model would not be called.

    Warns
    -----
    UserWarning
        If the network changed weights as it ran that were too large to be copied.
    """
    model = checked_network(model)
    tensors = [*model.parameters(), *model.buffers()]
    home = tensors[0].device if tensors else torch.device("cpu")
    try:
        where = home if device is None else torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:  # the second without CUDA
        expected, remedy = "a device of torch that is here", "pass one such as 'cpu' or 'cuda:0'"
        raise NeuralCollapseError("device", expected, repr(device), remedy) from error
    with ExitStack() as stack:
        stack.enter_context(random_states(loaders))
        stack.enter_context(torch.inference_mode(False))  # or what is gathered could not be used
        stack.enter_context(torch.no_grad())
        stack.enter_context(_eagerly())
        if where != home:
            stack.callback(model.to, home)
            model.to(where)
        stack.enter_context(_modes(model))
        model.eval()
        yield where


@contextmanager
def _modes(model: nn.Module) -> Iterator[None]:
    """Restore the modes of all modules, their buffers, and the weights that `train` may change."""
    modes = {module: module.training for module in model.modules()}
    weights = {name: p for name, p in model.named_parameters() if type(p) is nn.Parameter}
    light = sum(weight.nbytes for weight in weights.values()) <= WEIGHT_BUDGET
    held: list[tuple[dict[str, Any], str, Tensor | None, Tensor | None]] = [
        (part, name, tensor, _copied(tensor))
        for module in modes
        for part in (module._buffers, module._parameters)
        for name, tensor in part.items()
        if (light and type(tensor) is nn.Parameter)
        or type(module).train is not nn.Module.train
        # Others are caches, of which attributes know the size: half of that cannot be put back.
        or (part is module._buffers and name not in module._non_persistent_buffers_set)
    ]
    ours = {id(tensor) for _, _, tensor, _ in held}
    versions = {name: _version(p) for name, p in weights.items() if id(p) not in ours}
    try:
        yield
    finally:
        for module, mode in modes.items():  # parents come first
            if module.training != mode:
                module.train(mode)
        for module, mode in modes.items():
            module.training = mode  # where the `train` of a parent does not pass the mode on
        with torch.no_grad():
            for part, name, tensor, before in held:
                now = part.get(name)
                if now is not None and tensor is not None and now.shape != tensor.shape:
                    continue  # a cache that has grown, as attributes know
                part[name] = tensor  # where it was replaced
                if tensor is None or before is None or tensor.shape != before.shape:
                    continue
                if not _equal(tensor, before):
                    tensor.copy_(before)
        changed = [name for name, known in versions.items() if _version(weights[name]) != known]
        if changed:
            warnings.warn(
                f"the network changed its weights {', '.join(changed[:3])} as it ran, and keeps "
                "the change: all weights together are too large to be put back",
                stacklevel=4,
            )


def _version(weight: Tensor) -> int:
    return 0 if weight.is_inference() else weight._version


def _copied(tensor: Tensor | None) -> Tensor | None:
    """Return a copy of a dense tensor of its own; None of others, which torch cannot write to."""
    if tensor is None or is_lazy(tensor) or tensor.is_meta or tensor.is_inference():
        return None
    if 0 in tensor.stride() and tensor.numel() > 1:  # expanded
        return None
    return None if tensor.layout != torch.strided or tensor.is_nested else tensor.detach().clone()


def _equal(tensor: Tensor, before: Tensor) -> bool:
    """Return whether two tensors have the same numbers, NaN being one."""
    if torch.equal(tensor, before):
        return True
    return tensor.is_floating_point() and bool(
        ((tensor == before) | (tensor.isnan() & before.isnan())).all()
    )


@contextmanager
def random_states(loaders: tuple[Any, ...]) -> Iterator[None]:
    """Restore the random states of the process and of what draws the samples of loaders."""
    restore: list[tuple[Callable[[Any], Any], Any]] = [
        (np.random.set_state, np.random.get_state()),  # noqa: NPY002 - users draw from it
        (random.setstate, random.getstate()),
    ]
    for part in _parts(loaders):
        for name, value in [*vars(part).items()]:
            if isinstance(value, torch.Generator):
                restore.append((value.set_state, value.get_state()))
            elif isinstance(value, random.Random):
                restore.append((value.setstate, value.getstate()))
            elif isinstance(value, np.random.RandomState):
                restore.append((value.set_state, value.get_state()))
            elif isinstance(value, np.random.Generator):
                bits = value.bit_generator
                restore.append((partial(setattr, bits, "state"), bits.state))
            elif name in ("epoch", "iteration"):  # by which samplers of accelerate are seeded
                restore.append((partial(setattr, part, name), value))
            elif name == "_iterator" and isinstance(part, DataLoader):
                # With persistent workers, whoever trains may be in the middle of it.
                restore.append((partial(setattr, part, name), value))
                part._iterator = None
    cuda = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=cuda):
        try:
            yield
        finally:
            for setter, state in restore:
                setter(state)


def _parts(loaders: tuple[Any, ...]) -> list[Any]:
    """Return loaders with their samplers and data sets, each once, at any depth."""
    found: list[Any] = []
    waiting = list(loaders)
    while waiting:
        part = waiting.pop()
        part = getattr(part, "__self__", part)  # of a method, the object that it belongs to
        if isinstance(part, (list, tuple)):
            waiting.extend(part)
            continue
        if part is None or not hasattr(part, "__dict__") or any(part is known for known in found):
            continue
        found.append(part)
        waiting.extend(vars(part).get(name) for name in INNER)
    return found


def _eagerly() -> AbstractContextManager[Any]:
    """Run compiled parts eagerly: compiled code calls no hooks."""
    compiler = sys.modules.get("torch._dynamo")  # nothing is compiled before it is imported
    if compiler is None or not hasattr(torch.compiler, "set_stance"):
        return nullcontext()
    return torch.compiler.set_stance("force_eager")

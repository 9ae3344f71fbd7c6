"""Methods whose tensors outlive `torch.inference_mode`, in which a caller may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

F = TypeVar("F", bound=Callable)


def lasting(method: F) -> F:
    """Run a method outside of inference mode and without gradients.

    Torch refuses to write to a tensor that was made in inference mode once the mode is left, so
    that sums begun there could neither be read nor added to afterwards.

    Examples
    --------
    >>> with torch.inference_mode():
    ...     total = lasting(torch.zeros)(1)
    >>> total.add_(1)
    tensor([1.])
    """
    return torch.inference_mode(False)(torch.no_grad()(method))

"""Masks: which positions of the inputs are there, whatever a batch calls and means by it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import as_tensor

MASK_KEYS = ("attention_mask", "mask", "pixel_mask")  # 1 where there is a token
PADDING_KEYS = ("padding_mask", "key_padding_mask", "src_key_padding_mask")  # 1 where there is none


def mask_of(inputs: Any, num_samples: int | None = None) -> Tensor | None:
    """Return the mask of the positions, if the inputs are a mapping or object that has one.

    Parameters
    ----------
    inputs
        Of a batch. Masks of booleans or numbers are read as their names say, 1 or 0 for a token;
        with numbers below 0, which a network adds to its scores, as tokens where they are 0. Real
        numbers that are all 0 may mean either; an ``attention_mask`` in the shape of scores, such
        as (n, 1, 1, T), is one that is added.
    num_samples
        How many labels the batch has. A causal mask (T, T) of as many rows looks like one of T
        sequences of 1 to T tokens.

    Raises
    ------
    NeuralCollapseError
        If a mask may mean either.

    Examples
    --------
    >>> import torch
    >>> mask_of({"mask": [1, 1, 0]}), mask_of({"padding_mask": torch.tensor([0.0, -1e9])})
    (tensor([ True,  True, False]), tensor([ True, False]))
    """
    for names, turned in ((MASK_KEYS, False), (PADDING_KEYS, True)):
        for name in names:
            known = isinstance(inputs, Mapping)
            found = inputs.get(name) if known else getattr(inputs, name, None)
            if not (found is None or callable(found)):
                mask = as_tensor(name, found)
                return mask == 0 if turned else _there(name, mask, num_samples)
    return None


def _there(name: str, mask: Tensor, num_samples: int | None) -> Tensor:
    """Return where a mask has tokens that is 1 there, or 0 if it is added to scores."""
    zeros = mask.is_floating_point() and mask.numel() > 0 and not bool(mask.any())
    scores = name == "attention_mask" and mask.ndim > 2
    if zeros and not scores:
        expected, got = "a mask with a 1, or with a number below 0", "zeros alone"
        remedy = "pass booleans, true at tokens; one that the network adds to its scores in their "
        remedy += "shape, attention_mask (n, 1, 1, T)"
        raise NeuralCollapseError(name, expected, got, remedy)
    there = mask == 0 if zeros or bool((mask < 0).any()) else mask != 0
    if there.shape == (num_samples, num_samples) and len(there) > 1:
        causal = torch.ones_like(there).tril()
        if torch.equal(there, causal) or torch.equal(there, ~causal):
            expected = "a mask of the tokens of each sample"
            got = f"{num_samples} samples and a causal mask, or {num_samples} lengths in order"
            remedy = "give a causal mask another name, such as attn_mask, with forward=; give "
            remedy += "lengths as padding_mask, true where there is no token"
            raise NeuralCollapseError(name, expected, got, remedy)
    return there


def laid_out(mask: Tensor, where: tuple[int, ...]) -> Tensor | None:
    """Return a mask in the shape of the positions; None if it is one of others.

    Parameters
    ----------
    mask
        One number per position or per sample, samples first; of two axes, in either order.
    where
        Shape of the positions.

    Examples
    --------
    >>> import torch
    >>> laid_out(torch.tensor([[True], [False]]), (1, 2))
    tensor([[ True, False]])
    """
    if len(where) == 2 and mask.ndim and len(mask) == where[1] != where[0]:
        turned = laid_out(mask, where[::-1])
        return None if turned is None else turned.T
    if mask.shape[:1] == where[:1] and mask.numel() in (where[0], math.prod(where)):
        return mask.reshape(where[0], -1).expand(where[0], math.prod(where[1:])).reshape(where)
    return None

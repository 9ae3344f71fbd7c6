"""Code share: where K > d + 1, how near a head is to the best code that fits, and means to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from neuralcollapse.geometry.code_bound import one_vs_rest_bound
from neuralcollapse.geometry.one_vs_rest_margin import one_vs_rest_margin
from neuralcollapse.geometry.softmax_code import softmax_code

SOLVED = 512  # classes up to which each row's distance from the hull of the others is solved
SEARCHED = 64  # and up to which a code is searched for, shortly


@dataclass(frozen=True)
class CodeShare:
    """NC2 and NC3 where no simplex fits (Jiang et al. 2023).

    Attributes
    ----------
    margin
        rho, the one-vs-rest margin of the rows at unit length.
    least, most
        Its share of the largest there is lies between these: rho over what no head exceeds, and
        over the best code that a short search found; 1 where it found none better.
    duality
        Mean cosine of class means and the features that attain the margin.
    """

    margin: float
    least: float
    most: float
    duality: float


def code_share(weight: Tensor, means: Tensor) -> CodeShare | None:
    """Return how near head and class means are to a softmax code; None for too many classes.

    Parameters
    ----------
    weight, means
        (K, d) rows of the head and class means, not centred, K > d + 1.
    """
    (num, dim), rows = weight.shape, weight.detach().cpu().double()
    if num > SOLVED or not bool((rows.norm(dim=1) > 0).all()):
        return None
    found = one_vs_rest_margin(normalize(rows, dim=1))
    best = max(_searched(num, dim) if num <= SEARCHED else 0.0, found.lower)
    duality = cosine_similarity(found.features, means.detach().cpu().double(), dim=1).mean()
    most = found.lower / best if best > 0 else 1.0
    bound = one_vs_rest_bound(num, dim)
    least = found.lower / bound if bound > 0 else most
    return CodeShare(found.lower, min(least, most), most, float(duality))


@lru_cache(maxsize=16)
def _searched(num: int, dim: int) -> float:
    generator = torch.Generator().manual_seed(0)
    return softmax_code(num, dim, starts=4, steps=1000, generator=generator).margin

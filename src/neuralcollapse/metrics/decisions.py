"""Decisions from scores: the margin of the true class, and the winner if there is only one."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TIED = -1  # the winner where several classes score highest
BLOCK = 256  # classes whose largest score is found together


def decide(
    scores: Tensor, labels: Tensor, slack: Tensor | float = 0.0
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    r"""Return the margin of the true class of each sample, and the class that wins.

    .. math:: m = s_y - \max_{j \ne y} s_j

    The one rule for ties: a sample is classified correctly only if its class alone scores highest,
    and two rules agree only if both have a winner and it is the same. So m > 0 wherever the winner
    is the true class, and a NaN score never wins.

    Parameters
    ----------
    scores
        (n, K), larger is better. Not modified.
    labels
        (n,) int64 in 0..K-1, on the same device.
    slack
        How much scores must differ to count as different, at least 0; or (n,), one per sample.

    Returns
    -------
    margins : Tensor of shape (n,)
        Float32, or float64 if the scores are float64 or whole numbers; inf if K = 1, NaN where a
        score is NaN.
    winners : Tensor of shape (n,), int64
        The class above all others, or `TIED`.

    Examples
    --------
    >>> decide(torch.tensor([[3.0, 1.0, 2.5], [0.0, 1.0, 0.0], [2.0, 1.0, 2.0]]), torch.arange(3))
    (tensor([0.5000, 1.0000, 0.0000]), tensor([ 0,  1, -1]))
    """
    if not scores.is_floating_point():
        scores = scores.to(torch.float64)
    dtype = torch.float64 if scores.dtype == torch.float64 else torch.float32
    index, few = labels[:, None], scores.shape[1] <= BLOCK
    if few:
        # Laid out class by class, so that maxima run along contiguous samples.
        own = scores.T.clone(memory_format=torch.contiguous_format).T
        own.scatter_(1, index, float("-inf"))
        rivals = own.amax(1)
    else:
        width = _block_width(scores.shape[1])
        block = labels // width
        own, first = _block(scores, _all_rows(scores), block, width)
        own.scatter_(1, index - first[:, None], float("-inf"))
        # The largest rival of each block; of the true class's block, without that class.
        tops = _block_tops(scores, width).scatter_(1, block[:, None], own.amax(1, keepdim=True))
        rivals, blocks = tops.max(1)
    margins = scores.gather(1, index).squeeze(1).to(dtype) - rivals.to(dtype)
    winners = torch.where(margins > slack, labels, TIED)
    lost = margins < -slack
    # On an accelerator, nonzero would wait for the device in every batch.
    rows = lost.nonzero().squeeze(1) if scores.is_cpu else _all_rows(scores)
    if len(rows):
        if few:
            found, base = own[rows], None
        else:
            found, base = _block(scores, rows, blocks[rows], width)
        column = found.argmax(1, keepdim=True)
        second, rival = found.scatter_(1, column, float("-inf")).amax(1), column.squeeze(1)
        if base is not None:  # the runner-up is in the same block, or the top of another
            outside = tops[rows].scatter_(1, blocks[rows, None], float("-inf")).amax(1)
            second = torch.maximum(second, outside)
            rival = rival + base
        ahead = rivals[rows].to(dtype) - second.to(dtype)
        alone = ahead > (slack[rows] if isinstance(slack, Tensor) else slack)
        rival = torch.where(alone, rival, TIED)
        winners[rows] = torch.where(lost[rows], rival, winners[rows])
    return margins, winners


def log_confidences(scores: Tensor) -> Float[Tensor, " n"]:
    r"""Return the logarithm of the largest softmax probability of each sample.

    .. math:: \log \hat p = \max_j s_j - \log \sum_j e^{s_j}

    The log-probability of the true class is log p + min(m, 0), with the margin m of `decide`.

    Parameters
    ----------
    scores
        (n, K).

    Examples
    --------
    >>> log_confidences(torch.tensor([[0.0, 0.0], [100.0, 0.0]])).exp()
    tensor([0.5000, 1.0000])
    """
    wide = scores if scores.dtype in (torch.float32, torch.float64) else scores.float()
    return wide.amax(1) - wide.logsumexp(1)


def alike(first: Int[Tensor, " n"], second: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Return where two rules both have a winner, and the same one.

    Parameters
    ----------
    first, second
        (n,) winners, as `decide` returns them.

    Examples
    --------
    >>> alike(torch.tensor([0, 1, TIED]), torch.tensor([0, 0, TIED]))
    tensor([ True, False, False])
    """
    return (first == second) & (first != TIED)


def _all_rows(scores: Tensor) -> Tensor:
    return torch.arange(len(scores), device=scores.device)


def _block_width(num_classes: int) -> int:
    """Return the width of equal blocks of at most `BLOCK` classes, the last perhaps narrower."""
    return -(-num_classes // -(-num_classes // BLOCK))


def _block_tops(scores: Tensor, width: int) -> Tensor:
    """Return the largest score of each block of classes, (n, blocks)."""
    whole = scores.shape[1] // width
    tops = scores[:, : whole * width].unflatten(1, (whole, width)).amax(2)
    rest = scores[:, whole * width :]
    return torch.cat([tops, rest.amax(1, keepdim=True)], 1) if rest.shape[1] else tops


def _block(scores: Tensor, rows: Tensor, block: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return a copy of one block of each row's scores, and the class of its first column."""
    first = (block * width).clamp_max_(scores.shape[1] - width)
    start = rows * scores.shape[1] + first  # runs of memory: copied three times as fast
    found = scores.reshape(-1).unfold(0, width, 1).index_select(0, start)
    if scores.shape[1] % width:  # the last block is filled up with classes of the one before
        columns = torch.arange(width, device=scores.device)
        found.masked_fill_(columns < (block * width - first)[:, None], float("-inf"))
    return found, first

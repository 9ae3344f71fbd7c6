"""Class means as text, for the checkpoints of trainers, some of which are JSON."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

MOST = 2**22  # numbers: more, over 40 MiB of text, would weigh on every checkpoint


def centers_to_text(centers: Float[Tensor, "K d"] | None) -> list[str]:
    """Return one text per class, a fraction of a list of numbers; none of too many numbers.

    Parameters
    ----------
    centers
        (K, d) float64 class means, if there are any.

    Examples
    --------
    >>> centers_from_text(centers_to_text(torch.tensor([[0.1, float("nan")]]).double()))
    tensor([[0.1000,    nan]], dtype=torch.float64)
    """
    if centers is None or centers.numel() > MOST:
        return []
    return [b64encode(row).decode() for row in centers.cpu().numpy()]


def centers_from_text(rows: Sequence[str]) -> Float[Tensor, "K d"] | None:
    """Return class means from their text; None from none.

    Parameters
    ----------
    rows
        What `centers_to_text` returned.
    """
    decoded = [np.frombuffer(b64decode(row)) for row in rows]
    return torch.from_numpy(np.stack(decoded)) if decoded else None

"""What is random in an epoch depends on (seed, epoch, rank) alone, so no state need be kept."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def epoch_seed(*key: int) -> int:
    """Return a seed that is unrelated for different keys.

    Parameters
    ----------
    key
        Whole numbers of at least 0: seed, epoch, and rank where processes are to differ.

    Examples
    --------
    >>> epoch_seed(0, 1) != epoch_seed(1, 0)
    True
    """
    return int(np.random.SeedSequence(key).generate_state(1)[0])


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed torch, NumPy and Python in the block, and restore their states after it.

    Parameters
    ----------
    key
        As in `epoch_seed`.
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    seed = epoch_seed(*key)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)

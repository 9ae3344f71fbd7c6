"""What every integrator of the flow yields: an accepted step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Step:
    """A state of the flow and its log t; `landed` where log t was asked for."""

    log_t: float
    state: NDArray[np.float64]
    landed: bool

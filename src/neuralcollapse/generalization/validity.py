"""Whether a bound says anything about new data: what was fitted on the sample it is computed on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from neuralcollapse.validation import check_choice

Fitted = Literal["nothing", "head", "network"]

VALIDITY: dict[Fitted, str] = {
    "nothing": "valid, but needlessly loose: nothing was fitted on this sample, so counting its "
    "errors gives a better certificate",
    "head": "valid: it holds for every head on features that do not depend on this sample",
    "network": "not valid: the features were fitted on this sample, and the bound allows for the "
    "choice of the head alone; read it as a description of the fit",
}


class FittedBound(ABC):
    """An upper bound on the error whose validity hangs on what was fitted on its sample."""

    fitted: Fitted

    @property
    @abstractmethod
    def bound(self) -> float:
        """The bound; above 1 it says nothing."""

    @property
    def vacuous(self) -> bool:
        """Whether the bound is 1 or more: every error satisfies it."""
        return self.bound >= 1

    @property
    def valid(self) -> bool:
        """Whether the theorem applies: the features do not depend on the sample."""
        return self.fitted != "network"

    @property
    def validity(self) -> str:
        """Whether it is valid, and why, in words."""
        return VALIDITY[self.fitted]


def check_fitted(fitted: str) -> None:
    """Refuse an unknown answer to what was fitted on the sample.

    Parameters
    ----------
    fitted
        ``"nothing"``, ``"head"`` or ``"network"``.

    Raises
    ------
    NeuralCollapseError
        If it is none of them.

    Examples
    --------
    >>> check_fitted("head")
    """
    remedy = (
        "say what was fitted on this very sample: a bound is valid only if the features were not"
    )
    check_choice("fitted", fitted, VALIDITY, remedy)

"""Collapse measured where people train: plain loops, Lightning, Hugging Face."""

from typing import Any

import lazy_loader as _lazy

_found, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """Return a public name; ``CollapseWatch``, the old name of `watch`, can still be imported."""
    return _found("watch" if name == "CollapseWatch" else name)

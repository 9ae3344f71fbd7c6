"""Counts, means and scatters of the classes, from a stream of features."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

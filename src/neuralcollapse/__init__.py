"""Measure the neural collapse of any classifier in one pass, and explain it with its theory."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

"""Sweeps: many training runs, on the cores of this machine or on a cluster."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

"""The laboratory: data, small networks, and training that measures collapse as it goes."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

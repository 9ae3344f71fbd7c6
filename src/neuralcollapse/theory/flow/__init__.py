"""The gradient flow of the layer-peeled model, to log t = 1e8 and, in closed form, beyond."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

"""How familiar a sample is, and whether a decision about it is to be trusted."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

"""One self-contained page about one or several runs: `write_page`."""

import lazy_loader as _lazy

from neuralcollapse.runs import read_runs as read_runs  # what `write_page` draws

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

"""The parts of rich that draw tables, imported without a draw from Python's random numbers."""

import random

_state = random.getstate()  # rich numbers its links at random as it is imported

from rich.box import SIMPLE_HEAD  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from rich.text import Text  # noqa: E402

random.setstate(_state)

__all__ = ["SIMPLE_HEAD", "Console", "Table", "Text"]

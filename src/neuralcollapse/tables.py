"""The parts of rich that draw tables, imported without a draw from Python's random numbers."""

import random

_state = random.getstate()
try:  # rich numbers its links at random as it is imported
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
finally:
    random.setstate(_state)

__all__ = ["SIMPLE_HEAD", "Console", "Table", "Text"]

"""The table that a sweep shows while it works, read from the folders of its runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from neuralcollapse.studies.sweep.runs import State, SweepRun
from neuralcollapse.wording import accuracy

ROWS = 20
ORDER: tuple[State, ...] = ("failed", "begun", "waiting", "finished")
STYLES: dict[State, str] = {"failed": "red", "finished": "green", "waiting": "dim", "begun": ""}


def live_table(runs: Sequence[SweepRun]) -> Live:
    """Return a context in which stderr shows `progress_table`, made anew every second.

    Parameters
    ----------
    runs
        Of the sweep.
    """
    return Live(
        get_renderable=lambda: progress_table(runs),
        console=Console(stderr=True),
        refresh_per_second=1,
        transient=True,
    )


def progress_table(runs: Sequence[SweepRun]) -> Table:
    """Return how far each run is: failed ones first, then those under way; at most 20 rows.

    Parameters
    ----------
    runs
        Of the sweep.

    Examples
    --------
    >>> from pathlib import Path
    >>> from neuralcollapse.studies.sweep.progress_table import progress_table
    >>> from neuralcollapse.studies.sweep.runs import SweepRun
    >>> from neuralcollapse.training import TrainConfig
    >>> progress_table([SweepRun(TrainConfig(seed=s), Path(f"none/{s}")) for s in (0, 1)]).title
    '2 runs: 2 waiting'
    """
    states = {run: run.state for run in runs}
    counts = Counter(states.values())
    told = ", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state])
    table = Table(title=f"{len(runs)} runs: {told}", title_justify="left")
    for column in ("run", "state", "epoch", "train", "test", "NC1"):
        table.add_column(column, justify="left" if column in ("run", "state") else "right")
    chosen = sorted(runs, key=lambda run: ORDER.index(states[run]))[:ROWS]
    for run in chosen:
        last = run.last
        numbers = ["", "", ""]
        if last:
            train, test, nc1 = last["accuracy"], last["test_accuracy"], last["nc1_pinv"]
            numbers = [accuracy(train), accuracy(test), f"{nc1:.1e}"]
        epoch = f"{last['epoch'] if last else 0}/{run.config.epochs}"
        state = states[run]
        why = Text(run.error or state)  # never read as markup
        table.add_row(run.folder.name, why, epoch, *numbers, style=STYLES[state])
    if len(runs) > ROWS:
        table.caption = f"and {len(runs) - ROWS} more"
    return table

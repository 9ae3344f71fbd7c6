"""sweep: many training runs at once; finished ones are skipped, failed ones are reported."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from joblib import Parallel, delayed

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.studies.sweep.configs import run_name
from neuralcollapse.studies.sweep.engines import engine as joblib_engine
from neuralcollapse.studies.sweep.progress_table import live_table
from neuralcollapse.studies.sweep.runs import SweepRun
from neuralcollapse.training import TrainConfig
from neuralcollapse.training.data.registry import registered


@dataclass(frozen=True)
class SweepReport:
    """What became of the runs of a sweep.

    Attributes
    ----------
    runs
        In the order of the configurations.

    Examples
    --------
    >>> from pathlib import Path
    >>> from neuralcollapse.studies.sweep.runs import SweepRun
    >>> from neuralcollapse.studies.sweep.sweep import SweepReport
    >>> from neuralcollapse.training import TrainConfig
    >>> runs = tuple(SweepRun(TrainConfig(seed=s), Path(f"none/{s}")) for s in (0, 1))
    >>> report = SweepReport(runs)
    >>> len(report.failed), report.to_frame()["state"].tolist()
    (0, ['waiting', 'waiting'])
    """

    runs: tuple[SweepRun, ...]

    @property
    def failed(self) -> list[SweepRun]:
        """The runs that ended with an error; see their `error`."""
        return [run for run in self.runs if run.state == "failed"]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per run: what it varies, its state, and its last measurement."""
        configs = [run.config.to_dict() for run in self.runs]
        varied = [name for name in configs[0] if len({repr(c[name]) for c in configs}) > 1]
        rows = []
        for run, config in zip(self.runs, configs, strict=True):
            row = {"run": run.folder.name, **{name: config[name] for name in varied}}
            row["state"] = run.state
            # What the run was told to vary wins, such as lr over that of its last update.
            rows.append(row | {name: value for name, value in run.last.items() if name not in row})
        return pd.DataFrame(rows)


def sweep(
    configs: Iterable[TrainConfig],
    out: str | Path,
    *,
    engine: str = "processes",
    workers: int | None = None,
    address: str | None = None,
    gpus_per_run: float = 0,
    retry: bool = False,
    progress: bool = True,
    **options: Any,
) -> SweepReport:
    """Train every configuration in a folder of its own, several at once.

    Every run is resumable: a sweep that was stopped, by whatever means, goes on where its runs
    had their last checkpoints when it is called again; finished runs are skipped. A run that
    fails does not stop the others.

    Parameters
    ----------
    configs
        See `expand` for grids.
    out
        Folder; each run has its own in it, named by `run_name`. All machines of a cluster must
        see it under this path.
    engine, workers, address, gpus_per_run
        ``"processes"`` of this machine, or ``"ray"``. Workers: runs at once, all cores if
        omitted; they share the threads that torch has here. The address of a running Ray
        cluster; one of this machine alone is started if omitted. GPUs that a run takes, with Ray.
    retry
        Run again what failed in an earlier sweep; otherwise it is only reported.
    progress
        Show a live table.
    options
        Further arguments of `train`, the same for every run.

    Returns
    -------
    SweepReport
        The runs with their states and records.

    Raises
    ------
    NeuralCollapseError
        If there is no configuration, or the engine is not available. What a run raises is in its
        folder and in the report.

    Examples
    --------
    >>> import tempfile
    >>> from neuralcollapse.studies.sweep import expand, sweep
    >>> base = {"data": "digits", "net": "mlp", "epochs": 1, "per_class": 5}
    >>> configs = expand({"base": base, "grid": {"seed": [0, 1]}})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = sweep(configs, folder, workers=1, progress=False)
    ...     report.to_frame()[["seed", "state"]]
       seed     state
    0     0  finished
    1     1  finished
    """
    folder = Path(out).resolve()  # workers may have another current folder
    runs = tuple(SweepRun(config, folder / run_name(config)) for config in configs)
    if not runs:
        raise NeuralCollapseError("configs", "at least one configuration", "none", "see expand")
    if retry:
        for run in runs:
            run.forget_failure()
    due = [run for run in runs if run.state in ("waiting", "begun")]
    if due:
        with joblib_engine(engine, workers, address, gpus_per_run) as count:
            threads = max(1, torch.get_num_threads() // count)
            with live_table(runs) if progress else nullcontext():
                parent = os.getpid() if engine == "processes" else None
                own = registered()
                work = (delayed(run.work)(threads, options, parent, own) for run in due)
                Parallel(batch_size=1)(work)
    return SweepReport(runs)

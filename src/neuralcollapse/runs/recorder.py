"""CollapseRecorder: from measurements to records, warnings, and names for a logger."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch.distributed
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.cautions import cautions
from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.metrics.class_distance import worst_pairs
from neuralcollapse.metrics.head_mean import head_mean
from neuralcollapse.metrics.over_ranks import one_refuses_all_refuse, shared
from neuralcollapse.plain_text import plain
from neuralcollapse.runs.alarms.alarms import ALARMS, find_alarms
from neuralcollapse.runs.alarms.rank import means_rank
from neuralcollapse.runs.alarms.situation import CollapseWarning, Situation
from neuralcollapse.runs.alarms.streaks import Streaks
from neuralcollapse.runs.center_text import centers_from_text, centers_to_text
from neuralcollapse.runs.optimizer import decay_of, head_settings
from neuralcollapse.runs.provenance import versions
from neuralcollapse.runs.record import VERSION, Record
from neuralcollapse.runs.schedule import KEPT, Schedule, schedule
from neuralcollapse.runs.writer import RunWriter
from neuralcollapse.validation import check_choice, check_class_names, listed_names

Mode = Literal["pass", "batches"]
WORST_PAIRS = 10


class CollapseRecorder:
    """Keep the records of a run, write them to its history, and warn when an alarm begins.

    Parameters
    ----------
    plan
        A schedule, see `schedule`.
    mode
        ``"pass"`` or ``"batches"``: how measurements are made, which their names tell.
    history
        Folder of the run, to write records, snapshots and config.json to, see `RunWriter`.
    prefix
        Of logged names; ``"batches"`` adds its own word to it.
    class_names
        One a class; numbers if omitted.
    include
        Names of the metrics to record, also those of validation data; all if omitted.
    resume, overwrite
        What becomes of a run that is in the folder; it is refused if neither is asked for.

    Attributes
    ----------
    optimizers
        The optimizers of the network, as far as they are known: from them come the settings with
        which the head is trained.
    centers
        (K, d) class means of the last record if it is of batches, for NC4 of the next ones. Up to
        four million numbers of them are in the state.

    Raises
    ------
    NeuralCollapseError
        If the mode is unknown, or `history` names another file than a history.jsonl.
    """

    def __init__(
        self,
        plan: str | int | Schedule = "business",
        mode: Mode = "pass",
        history: str | Path | None = None,
        prefix: str = "collapse",
        class_names: Sequence[str] | None = None,
        include: Sequence[str] | None = None,
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        check_choice(
            "mode", mode, ("pass", "batches"), "pass: a pass of its own; batches: those of training"
        )
        self.schedule = schedule(plan)
        self.mode = mode
        self.records: list[Record] = []
        self._writer = None if history is None else RunWriter(history, resume, overwrite)
        self._opened = self._warned = False
        self.streaks = Streaks()
        self.optimizers: Sequence[Any] = ()
        self.centers: Tensor | None = None
        self.prefix = prefix if mode == "pass" else f"{prefix}_batches"
        self.class_names = listed_names(class_names)
        self._include = [include] if isinstance(include, str) else include
        self._start = time.perf_counter()

    def open(self, config: Mapping[str, Any] | None = None) -> None:
        """Take the folder before training, if there is one; `record` does it otherwise.

        Of several processes every one must call: the first takes it, and all have its records.

        Parameters
        ----------
        config
            Hyperparameters, as far as they are known; values that JSON lacks become text, and keys
            that it lacks are left out.

        Raises
        ------
        NeuralCollapseError
            As `RunWriter.open`.
        """
        if self._writer is None or self._opened:
            return
        with one_refuses_all_refuse():
            if _first_process():
                self._take(self._writer, config)
        self.records, self._opened = shared(self.records or None) or [], True

    def _take(self, writer: RunWriter, config: Mapping[str, Any] | None) -> None:
        plain = json.loads(json.dumps(dict(config or {}), default=str, skipkeys=True))
        description = {
            "config": plain,
            "measurement": {"mode": self.mode, "schedule": asdict(self.schedule)},
            "class_names": self.class_names,
        }
        earlier = writer.open(description | versions())
        self.records = self.records or earlier

    def state_dict(self) -> dict[str, Any]:
        """Return what measuring goes on from, ready for JSON, for a checkpoint."""
        state = {"records": self.records, "streaks": self.streaks.state_dict()}
        return state | {"centers": centers_to_text(self.centers)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there, also in the folder, if there is one and no record was made."""
        self.records = list(state.get("records", []))
        if "streaks" in state:
            self.streaks.load_state_dict(state["streaks"])
        self.centers = centers_from_text(state.get("centers", ()))
        if self._writer is not None and self.records:
            self._writer.go_back(self.records)
            self._opened = False

    def record(
        self,
        measured: CollapseReport,
        epoch: int,
        step: int | None = None,
        last: int | None = None,
    ) -> Record:
        """Add the record of an epoch, and warn of the notes of the first measurement.

        Parameters
        ----------
        measured
            Its measurement.
        epoch
            Its number, from 1.
        step
            Updates so far.
        last
            Number of the last epoch, if known.

        Returns
        -------
        dict
            ``epoch``, ``step``, ``seconds`` (since the recorder was made), ``mode``,
            ``num_classes``, the values, ``means_rank``, ``alarms`` (kind to message),
            ``cautions`` (sentences), ``head_mean``, how the ``optimizer`` trains the head, if that
            is known, and with details ``classes`` and ``worst_pairs``.
        """
        self.open()
        names = self._names(measured)
        for note in measured.notes if _first_process() and not self.records else ():
            warnings.warn(note, CollapseWarning, stacklevel=4)
        record = self.made(measured, epoch, step, last)
        if self._writer is not None and _first_process():
            named = replace(measured, class_names=names)
            # The scatter of an earlier layer is large: once, at the end if that is known.
            before = measured.before if last in (None, epoch) else None
            keeps = self.keeps_geometry(epoch, last)
            self._writer.add(record, named if keeps else None, before)
        self.records.append(record)
        self.centers = measured.train.moments.means if self.mode == "batches" else None
        return record

    def check(self, num_classes: int, metrics: Sequence[str]) -> None:
        """Refuse class names and names of metrics that what is measured does not have.

        Parameters
        ----------
        num_classes
            K.
        metrics
            The names of all values.

        Raises
        ------
        NeuralCollapseError
            If there is not one name per class, or a metric to include is not measured.
        """
        check_class_names(self.class_names, num_classes)
        unknown = [name for name in self._include or () if name not in metrics]
        if unknown:
            expected = f"metrics that are measured: {', '.join(metrics)}"
            got = ", ".join(unknown)
            raise NeuralCollapseError("include", expected, got, "correct or leave out these names")

    def due(self, epoch: int, last: int | None = None) -> bool:
        """Return whether to measure an epoch: as scheduled, unless there are records up to it.

        Parameters
        ----------
        epoch, last
            As in `record`.

        Warns
        -----
        CollapseWarning
            Once, where there is a record of the epoch or of a later one, as in a folder that is
            continued from an earlier checkpoint.
        """
        if not self.schedule.due(epoch, last):
            return False
        measured = self.records[-1]["epoch"] if self.records else 0
        if epoch <= measured and not self._warned:
            self._warned = True
            again = f"epoch {epoch:g} is not measured again: there are records to {measured:g}"
            warnings.warn(again, CollapseWarning, stacklevel=3)
        return bool(epoch > measured)

    def keeps_geometry(self, epoch: int, last: int | None = None) -> bool:
        """Return whether the measurement of an epoch leaves a snapshot."""
        since = int(self.records[-1]["epoch"]) if self.records else 0
        return KEPT.passed(since, epoch, last)

    def made(
        self,
        measured: CollapseReport,
        epoch: int,
        step: int | None = None,
        last: int | None = None,
        **more: Any,
    ) -> Record:
        """Return the record of an epoch, and warn of what is alarming in it.

        Parameters
        ----------
        measured, epoch, step, last
            As in `record`.
        more
            Further entries, which win over those made here.
        """
        names = self._names(measured)
        still_wrong = self.streaks.after(measured.train.state)
        called = [plain(name) for name in names]  # alarms reach terminals
        settings = head_settings(self.optimizers, measured.weight)
        situation = Situation(
            measured, self.records, called, epoch, last, still_wrong, step, settings
        )
        raised = find_alarms(situation)
        record: Record = {
            "version": VERSION,
            "epoch": epoch,
            "step": step,
            "seconds": time.perf_counter() - self._start,
            "mode": self.mode,
            "num_classes": measured.train.moments.num_classes,
            **self._included(measured),
            "means_rank": means_rank(measured.train.moments),
            "alarms": {alarm.kind: alarm.message for alarm in raised},
            "cautions": cautions(measured, decay_of(settings)),
        }
        if measured.weight is not None:
            record["head_mean"] = head_mean(measured.weight)
        if settings is not None:
            record["optimizer"] = settings
        if self.mode == "batches":  # nothing is corrected of a network that moved meanwhile
            record.pop("estimates", None)
        if measured.layers:
            record["layers"] = {name: dict(values) for name, values in measured.layers.items()}
        if self.schedule.details:
            record["classes"] = _classes(measured, names)
            pairs = worst_pairs(measured.train.moments, WORST_PAIRS)
            record["worst_pairs"] = [(names[i], names[j], value) for i, j, value in pairs]
        standing = self.records[-1].get("alarms", {}) if self.records else {}
        for alarm in raised if _first_process() else ():
            if alarm.kind not in standing:
                warnings.warn(alarm.message, CollapseWarning, stacklevel=5)
        return record | more

    def scalars(self, record: Record) -> dict[str, float]:
        """Return what a logger is given: every number of a record under its logged name.

        Metrics are ``collapse/nc1_pinv``, those of validation data ``collapse/test_nc1_pinv``,
        alarms ``collapse/alarm_loss_of_rank`` (0 or 1), and details
        ``collapse_class/accuracy/NAME``; from training batches the first word is
        ``collapse_batches``.
        """
        prefix = self.prefix
        scalars = {
            f"{prefix}/{name}": value
            for name, value in record.items()
            if isinstance(value, float) and name != "seconds"
        }
        scalars |= {f"{prefix}/alarm_{kind}": float(kind in record["alarms"]) for kind in ALARMS}
        for row in record.get("classes", ()):
            for name in ("accuracy", "trace_variance", "distance_to_center"):
                scalars[f"{prefix}_class/{name}/{row['class']}"] = row[name]
        return scalars

    def _included(self, measured: CollapseReport) -> dict[str, Any]:
        record, values = measured.to_record(), measured.to_dict()
        self.check(measured.train.moments.num_classes, list(values))
        if self._include is None:
            return record
        prefixes = ("", "test_", *(f"{name}_" for name in measured.others))
        wanted = {f"{prefix}{name}" for prefix in prefixes for name in self._include}
        return {k: value for k, value in record.items() if k in wanted or k not in values}

    def _names(self, measured: CollapseReport) -> list[str]:
        return check_class_names(self.class_names, measured.train.moments.num_classes)


CLASS_COLUMNS = ("class", "samples", "trace_variance", "distance_to_center", "accuracy")


def _first_process() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _classes(measured: CollapseReport, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per class, in order."""
    known = {"accuracy": [math.nan] * len(names)} | measured.train.columns(names)
    columns = {name: known[name] for name in CLASS_COLUMNS}
    if measured.test is not None:
        recall = measured.test.state.per_class().get("accuracy")
        columns["test_accuracy"] = [math.nan] * len(names) if recall is None else recall.tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

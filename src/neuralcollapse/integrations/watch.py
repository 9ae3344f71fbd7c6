"""watch: the collapse of a network while your own loop trains it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from neuralcollapse.integrations.batch_observer import BatchObserver, refuse_unheeded
from neuralcollapse.integrations.loggers import sink
from neuralcollapse.measurement.pass_options import PassOptions
from neuralcollapse.measurement.passes import measured_passes, rehearse
from neuralcollapse.runs.alarms.situation import CollapseWarning
from neuralcollapse.runs.record import Record
from neuralcollapse.runs.recorder import CollapseRecorder, Mode
from neuralcollapse.runs.schedule import Schedule
from neuralcollapse.validation import whole_number

Loaders = Iterable[Any] | Mapping[str, Iterable[Any]] | None


class CollapseWatch:
    """A context in which your own loop trains a network, and its collapse is measured.

    Call its ``epoch_end()`` after each epoch; ``records`` has everything. Measuring does
    not change training: modes, random states and hooks are restored.

    Parameters
    ----------
    model
        The network, also wrapped in ``DistributedDataParallel``; processes are merged.
    loader, val_loader
        Training and validation data, as `measure` takes them, validation data optionally several
        by name; with several processes, the part of this one. With ``mode="pass"`` one batch of
        each is measured at once, so that errors show before training.
    mode
        ``"pass"``: a pass over the data at the end of each epoch due, in evaluation mode.
        ``"batches"``: the batches of training themselves, at no extra pass; iterate over
        ``collapse.batches()`` instead of the loader. The network changes between these batches,
        so their within-class variability includes its drift, and NC4 goes by the class means of
        the epoch before (NaN in the first); logged names say ``collapse_batches``, and there are
        no validation values.
    schedule
        ``"economy"`` (log-spaced epochs), ``"business"`` (every epoch), ``"full"`` (every class
        and the worst pairs too), a number of epochs, or a `Schedule`.
    epochs
        Number of epochs, if known: the last is always measured, and alarms can tell late from
        early. If omitted, the last epoch is measured on leaving the context, unless it was due.
    history
        Folder of the run: it gets config.json, history.jsonl and snapshots of the geometry, which
        `neuralcollapse report` draws. A full disk does not end training: records then wait in
        memory.
    log
        A logger, see `sink`.
    class_names
        One name per class; numbers if omitted.
    prefix
        Prefix of logged names.
    test_loader
        Another name for `val_loader`, the one it has in `measure`.
    include
        Names of the metrics to record and log; all if omitted.
    resume, overwrite
        Whether to continue or to replace a run that is already in the folder. Without either, it
        is an error when the context is entered or the first epoch ends. The folder does not tell
        how far training went after its last record: pass ``epoch=`` to `epoch_end`, or keep
        `state_dict` in your checkpoints.
    config
        Hyperparameters to keep in config.json, such as ``{"lr": 0.1}``.
    optimizer
        The optimizer of the network, to record learning rate, weight decay and momentum of the
        head, from which alarms and cautions know what theory expects after so many steps.
    options
        As in `measure`: head, unpack, forward, device, scatter, feature_budget, max_batches,
        min_samples, layers, ignore_index, shift_labels, metrics.

    Attributes
    ----------
    epoch
        Number of epochs that have ended.
    records
        One dict per measurement, as in history.jsonl.

    Raises
    ------
    NeuralCollapseError
        If mode, schedule or log are unknown, the network is compiled with ``mode="batches"``, or
        one batch cannot be measured; later, as `measure`.

    Warns
    -----
    CollapseWarning
        About absent classes, minority collapse, negative margins late in training, collapse
        without generalisation, or loss of rank; in a resumed run, where the number of the epoch is
        guessed.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from neuralcollapse import watch
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> loader = [(torch.randn(30, 2), torch.arange(30) % 3) for _ in range(4)]
    >>> with watch(model, loader, schedule="economy") as collapse:
    ...     for epoch in range(9):
    ...         # ... train for an epoch ...
    ...         _ = collapse.epoch_end()
    >>> [record["epoch"] for record in collapse.records]
    [1, 2, 3, 4, 5, 6, 8, 9]

    A second process goes on from a checkpoint, with the state of the watch in it:

    >>> checkpoint = {"model": model.state_dict(), "collapse": collapse.state_dict()}
    >>> with watch(model, loader, schedule="economy") as collapse:
    ...     collapse.load_state_dict(checkpoint["collapse"])
    ...     for epoch in range(collapse.epoch, 11):
    ...         # ... train for an epoch ...
    ...         _ = collapse.epoch_end()
    >>> [record["epoch"] for record in collapse.records]
    [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    """

    def __init__(
        self,
        model: Any,
        loader: Iterable[Any],
        *,
        val_loader: Loaders = None,
        mode: Mode = "pass",
        schedule: str | int | Schedule = "business",
        epochs: int | None = None,
        history: str | Path | None = None,
        log: Any = None,
        class_names: Sequence[str] | None = None,
        prefix: str = "collapse",
        test_loader: Loaders = None,
        include: Sequence[str] | None = None,
        resume: bool = False,
        overwrite: bool = False,
        config: Mapping[str, Any] | None = None,
        optimizer: Any = None,
        **options: Any,
    ) -> None:
        self.epoch, self._config = 0, config
        self._last = None if epochs is None else whole_number("epochs", epochs, 0)
        self._model, self._loader = model, loader
        self._test_loader = test_loader if val_loader is None else val_loader
        self._recorder = CollapseRecorder(
            schedule, mode, history, prefix, class_names, include,
            resume=resume, overwrite=overwrite,
        )  # fmt: skip
        self._options = PassOptions.of(options, type(self), class_names=self._recorder.class_names)
        refuse_unheeded(mode, self._options, val_loader=val_loader, test_loader=test_loader)
        self._recorder.optimizers = () if optimizer is None else (optimizer,)
        self._observer: BatchObserver | None = None
        self._log = sink(log)
        self._steps: int | None = None
        self._guessed = False  # whether `epoch` may be too small
        if mode == "batches":
            self._observer = BatchObserver(model, self._recorder, self._options)
        else:
            rehearse(model, loader, self._options, self._test_loader, self._recorder.check)

    @property
    def records(self) -> list[Record]:
        """The records so far."""
        return self._recorder.records

    def __enter__(self) -> CollapseWatch:
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._observer is not None:
            self._observer.discard()
        behind = self._measured_epoch() < self.epoch
        if kind is None and self._recorder.mode == "pass" and behind:
            self._measure()  # the last epoch, which could not be known to be the last

    def batches(self) -> Iterator[Any]:
        """Yield the batches of the loader; with ``mode="batches"``, each is measured as it runs.

        If the epoch is not due, the network runs without hooks.
        """
        self._open()
        observer = self._observer
        if not self._recorder.schedule.due(self.epoch + 1, self._last):
            observer = None
        for batch in self._loader:
            if observer is None:
                yield batch
                self._steps = (self._steps or 0) + 1
                continue
            observer.open()
            try:
                observer.expect(batch)
                yield batch
                self._steps = (self._steps or 0) + 1
                observer.close()
            finally:  # also where the loop is left by break: that batch does not count
                observer.discard()

    def epoch_end(self, step: int | None = None, *, epoch: int | None = None) -> Record | None:
        """Count an epoch, and measure if it is due.

        Parameters
        ----------
        step
            Number of updates so far, for the record and the logger. If omitted, the batches that
            `batches` has yielded, or the epoch if there are none.
        epoch
            Number of the epoch that has ended, from 1; one more than before if omitted. A run that
            is resumed needs it where its last record is not of the last epoch: with a schedule
            that skips epochs, or a checkpoint that is older.

        Returns
        -------
        dict or None
            The record, if one was made. An epoch up to that of the last record is not measured
            again.

        Raises
        ------
        NeuralCollapseError
            As `measure`; with ``mode="batches"`` if no batch of `batches` went through the model.
        """
        self._open()
        if epoch is None and self._guessed:
            self._warn(
                f"the last record in the folder is of epoch {self.epoch}, and this epoch is taken "
                f"for {self.epoch + 1}: pass its number as epoch= of epoch_end, or keep "
                "state_dict() in your checkpoints and pass it to load_state_dict"
            )
        self._guessed = False
        self.epoch = self.epoch + 1 if epoch is None else whole_number("epoch", epoch)
        self._steps = self._steps if step is None else step
        return self._measure() if self._recorder.due(self.epoch, self._last) else None

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` goes on from, for your checkpoint."""
        return {"epoch": self.epoch, "step": self._steps, **self._recorder.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, in the folder too: later records there are made again.

        Parameters
        ----------
        state
            What `state_dict` returned.
        """
        self._recorder.load_state_dict(state)
        self._recorder.open(self._config)
        self.epoch, self._steps, self._guessed = state["epoch"], state["step"], False

    def _open(self) -> None:
        """Open the folder, and continue where a resumed run ended as far as its records tell."""
        if self.epoch == 0:
            self._recorder.open(self._config)
            self.epoch = self._measured_epoch()
            if self.records:
                step = self.records[-1].get("step")  # NaN in a file, if it was not known
                self._steps = None if step is None or math.isnan(step) else step
                self._guessed = True

    def _measured_epoch(self) -> int:
        return int(self.records[-1]["epoch"]) if self.records else 0

    def _warn(self, message: str) -> None:
        warnings.warn(message, CollapseWarning, stacklevel=3)

    def _measure(self) -> Record:
        if self._observer is not None:
            measured = self._observer.finish()
        else:
            measured = measured_passes(
                self._model, self._loader, self._test_loader, self._options, merged=True
            )
        record = self._recorder.record(measured, self.epoch, self._steps, self._last)
        step = self.epoch if self._steps is None else self._steps
        self._log(self._recorder.scalars(record), step)
        return record


watch = CollapseWatch  # as a verb: with watch(model, loader) as collapse

"""watch: the collapse of a network while your own loop trains it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from neuralcollapse.integrations.batch_observer import BatchObserver
from neuralcollapse.integrations.loggers import sink
from neuralcollapse.measurement.passes import PassOptions, measured_passes, rehearse
from neuralcollapse.metrics.over_ranks import one_refuses_all_refuse
from neuralcollapse.runs.record import Record
from neuralcollapse.runs.recorder import CollapseRecorder, Mode
from neuralcollapse.runs.schedule import Schedule

Loaders = Iterable[Any] | Mapping[str, Iterable[Any]] | None


class CollapseWatch:
    """A context in which your own loop trains a network, and its collapse is measured.

    Call its ``epoch_end()`` after each epoch; ``records`` has everything. Measuring leaves training
    as it was: modes, random states and hooks are restored.

    Parameters
    ----------
    model
        The network, also wrapped in ``DistributedDataParallel``; processes are merged.
    loader, val_loader
        Training and validation data, as `measure` takes them, of the latter perhaps several by
        name; of this process, where there are several. For a pass, one batch is measured at once,
        so that what cannot be measured is said before training.
    mode
        ``"pass"``: a pass over the data at the end of each epoch due, in evaluation mode.
        ``"batches"``: the batches of training themselves, at no extra pass; iterate over
        ``collapse.batches()`` instead of the loader. The network moves between these batches, so
        their within-class variability includes its drift; logged names say ``collapse_batches``.
    schedule
        ``"economy"`` (log-spaced epochs), ``"business"`` (every epoch), ``"full"`` (every class
        and the worst pairs too), a number of epochs, or a `Schedule`.
    epochs
        How many there will be, if known: the last is always measured, and alarms know late from
        early. If omitted, leaving the context measures the last epoch where it was not due.
    history
        Folder of the run: it gets config.json, history.jsonl and snapshots of the geometry, which
        `neuralcollapse report` draws. A full disk ends no training: records then wait in memory.
    log
        A logger, see `sink`.
    class_names
        One name per class; numbers if omitted.
    prefix
        Of logged names.
    test_loader
        The same as `val_loader`, by the name it has in `measure`.
    include
        Names of the metrics to record and log; all if omitted.
    resume, overwrite
        What becomes of a run that is in the folder: it is refused, when the context is entered or
        the first epoch ends, unless one of them says to go on with it or to replace it.
    config
        Hyperparameters to keep in config.json, such as ``{"lr": 0.1}``.
    optimizer
        What trains the network, to record how it trains the head: learning rate, weight decay and
        momentum, from which alarms and cautions know what theory expects of so many steps.
    options
        As in `measure`: head, unpack, forward, device, scatter, feature_budget, max_batches,
        min_samples, layers, ignore_index, shift_labels, metrics.

    Attributes
    ----------
    epoch
        Epochs that have ended.
    records
        One dict a measurement, as in a history.jsonl.

    Raises
    ------
    NeuralCollapseError
        If mode, schedule or log are unknown, the batches of a compiled network are to be watched,
        or one batch cannot be measured; later, as `measure`.

    Warns
    -----
    CollapseWarning
        Of absent classes, minority collapse, late negative margins, collapse without
        generalisation, or lost rank.

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
        self._model, self._last, self._options = model, epochs, PassOptions(**options)
        self._loader = loader
        self._test_loader = test_loader if val_loader is None else val_loader
        self._recorder = CollapseRecorder(
            schedule, mode, history, prefix, class_names, include,
            resume=resume, overwrite=overwrite,
        )  # fmt: skip
        self._recorder.optimizers = () if optimizer is None else (optimizer,)
        self._observer = BatchObserver(model, self._options) if mode == "batches" else None
        self._log = sink(log)
        self._steps: int | None = None
        if self._observer is None:
            rehearse(model, loader, self._options)

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
        measured = self.records[-1]["epoch"] if self.records else 0
        if kind is None and self._recorder.mode == "pass" and measured < self.epoch:
            self._measure()  # the last epoch, which no one could know to be the last

    def batches(self) -> Iterator[Any]:
        """Yield the batches of the loader; with ``mode="batches"``, each is measured as it runs.

        Where the epoch is not due, the network runs without a hook.
        """
        observer = self._observer
        if not self._recorder.schedule.due(self.epoch + 1, self._last):
            observer = None
        samples = self._options.samples(self._model)
        for batch in self._loader:
            if observer is None:
                yield batch
                self._steps = (self._steps or 0) + 1
                continue
            observer.open()
            try:
                _, labels, mask = samples.split(batch)
                observer.expect(labels, mask)
                yield batch
                self._steps = (self._steps or 0) + 1
                observer.close()
            finally:  # also where the loop is left by break: that batch does not count
                observer.discard()

    def epoch_end(self, step: int | None = None) -> Record | None:
        """Count an epoch, and measure if it is due.

        Parameters
        ----------
        step
            Updates so far, for the record and the logger; those of `batches` if omitted, or the
            epoch where there are none.

        Returns
        -------
        dict or None
            The record, if one was made.

        Raises
        ------
        NeuralCollapseError
            As `measure`; with ``mode="batches"`` if no batch of `batches` went through the model.
        """
        self._open()
        self.epoch += 1
        self._steps = self._steps if step is None else step
        if not self._recorder.schedule.due(self.epoch, self._last):
            return None
        return self._measure()

    def _open(self) -> None:
        """Take the folder, and go on where a resumed run was."""
        if self.epoch == 0:
            with one_refuses_all_refuse():
                self._recorder.open(self._config)
            self.epoch = int(self.records[-1]["epoch"]) if self.records else 0

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

"""CollapseCallback: collapse in the logs of a Lightning Trainer."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.integrations.batch_observer import BatchObserver
from neuralcollapse.integrations.evaluation_pass import measure_epoch
from neuralcollapse.integrations.loggers import sink
from neuralcollapse.integrations.missing import MissingLibrary
from neuralcollapse.integrations.recorder import CollapseRecorder, Mode
from neuralcollapse.integrations.schedules import Schedule
from neuralcollapse.measurement.feature_pass import Unpack, unpack_batch
from neuralcollapse.metrics.catalogue import OwnMetrics, own_metrics
from neuralcollapse.runs.record import Record


def _callback_classes() -> tuple[type, ...]:
    """Return the Callback class of each name under which Lightning is installed.

    It is one library under two names, and the Trainer of each takes callbacks of its own alone.
    """
    found: list[type] = []
    for package in ("lightning.pytorch", "pytorch_lightning"):
        try:
            found.append(importlib.import_module(f"{package}.callbacks").Callback)
        except ModuleNotFoundError:
            continue
    if not found:
        raise MissingLibrary("CollapseCallback", "Lightning", "lightning")
    return tuple(found)


if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback as _Callback
else:
    _Callback = type("_Callback", _callback_classes(), {})


class CollapseCallback(_Callback):
    """Measure collapse at the ends of epochs, and log it wherever the Trainer logs.

    Add it to ``Trainer(callbacks=[CollapseCallback()])``, of `lightning` or `pytorch_lightning`.
    Values reach every logger of the Trainer (CSV, TensorBoard, Weights & Biases, ...) through the
    one method they share, ``log_metrics``; they can be monitored by name, as in
    ``EarlyStopping("collapse/nc1_pinv")``. Processes are merged: each measures its part of the
    data, and all log the same values. Training goes on as if nothing had been measured.

    Parameters
    ----------
    schedule
        ``"economy"`` (log-spaced epochs), ``"business"`` (every epoch), ``"full"`` (every class
        and the worst pairs too), a number of epochs, or a `Schedule`.
    mode
        ``"pass"``: a pass of its own over ``trainer.train_dataloader``, in evaluation mode and in
        the Trainer's precision; the module's ``forward`` must take the inputs of a batch.
        ``"batches"``: the training batches themselves, at no extra pass. The network moves
        between these, so their spread within classes includes its drift: logged names say
        ``collapse_batches``, and there are no validation values.
    validation
        Whether to measure validation data too; there must be one validation loader.
    head
        The last linear layer or its name in the module; found by itself if omitted.
    history
        A history.jsonl, or the folder of a run, to append records to, which plots can read.
    class_names
        One name a class; numbers if omitted.
    unpack
        From a batch to (inputs, labels), if it is neither a pair nor a mapping with labels.
    prefix
        Of logged names.
    metrics
        Metrics of one's own, as in `measure`.

    Attributes
    ----------
    records
        One dict a measurement, in float64; loggers get float32.

    Notes
    -----
    The pass covers the whole training loader, whatever ``limit_train_batches`` says.

    A validation metric such as ``nc1_pinv`` is logged as ``collapse/val_nc1_pinv``, and is
    ``test_nc1_pinv`` in the records. Batch norm's running averages differ a little between
    processes, as they do in training: synchronise them if that matters.
    """

    def __init__(
        self,
        schedule: str | int | Schedule = "business",
        *,
        mode: Mode = "pass",
        validation: bool = True,
        head: Any = None,
        history: str | Path | None = None,
        class_names: Sequence[str] | None = None,
        unpack: Unpack | None = None,
        prefix: str = "collapse",
        metrics: OwnMetrics | None = None,
    ) -> None:
        super().__init__()
        self._metrics = own_metrics(metrics)
        self._recorder = CollapseRecorder(schedule, mode, history, prefix, class_names)
        self._head, self._unpack, self._validation = head, unpack or unpack_batch, validation
        self._observer: BatchObserver | None = None
        self._epoch = 0

    @property
    def records(self) -> list[Record]:
        """The records so far."""
        return self._recorder.records

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Attach to the head, if this epoch is measured from its batches."""
        due = self._recorder.schedule.due(trainer.current_epoch + 1, _last(trainer))
        if self._recorder.mode == "batches" and due:
            if self._observer is None:
                self._observer = BatchObserver(pl_module, self._head, self._metrics)
            self._observer.open()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the batch, if this epoch is measured from its batches."""
        if self._observer is not None and self._observer.opened:
            self._observer.close(self._unpack(batch)[1])

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure and log, if it is due."""
        self._epoch = trainer.current_epoch + 1
        if self._recorder.schedule.due(self._epoch, _last(trainer)):
            record = self._measure(trainer, pl_module)
            several = trainer.world_size > 1  # where values agree, but must be said to
            scalars = self._recorder.scalars(record)
            pl_module.log_dict(scalars, on_step=False, on_epoch=True, sync_dist=several)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure the last epoch, if no one could know that it would be the last."""
        measured = self.records[-1]["epoch"] if self.records else 0
        if self._recorder.mode == "pass" and measured < self._epoch:
            scalars = self._recorder.scalars(self._measure(trainer, pl_module))
            for logger in trainer.loggers:
                sink(logger)(scalars, trainer.global_step)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Detach from the head."""
        if self._observer is not None:
            self._observer.discard()

    def _measure(self, trainer: Any, pl_module: Any) -> Record:
        if self._recorder.mode == "batches":
            observer = self._observer or BatchObserver(pl_module)  # which says what is missing
            measured = observer.finish()
        else:
            with trainer.precision_plugin.forward_context():
                measured = measure_epoch(
                    pl_module,
                    _only(trainer.train_dataloader),
                    _validation_loader(trainer) if self._validation else None,
                    head=self._head,
                    unpack=self._unpack,
                    metrics=self._metrics,
                )
        step = int(trainer.global_step)
        return self._recorder.record(measured, self._epoch, step, _last(trainer))


def _last(trainer: Any) -> int | None:
    """Return the number of the last epoch, if there is to be one."""
    epochs = trainer.max_epochs
    return None if epochs is None or epochs < 1 else int(epochs)


def _only(loader: Any) -> Iterable[Any]:
    """Return the one training loader."""
    if isinstance(loader, (list, tuple)) and len(loader) == 1:
        return _only(loader[0])
    if loader is None or isinstance(loader, (list, tuple, dict)):
        raise NeuralCollapseError(
            "trainer.train_dataloader",
            "one training loader",
            "none" if loader is None else f"a {type(loader).__name__} of {len(loader)}",
            "use mode='batches' with unpack=, which says where labels are",
        )
    return loader


def _validation_loader(trainer: Any) -> Iterable[Any] | None:
    """Return the validation loader if there is just one."""
    loaders = trainer.val_dataloaders
    if isinstance(loaders, (list, tuple)):
        return loaders[0] if len(loaders) == 1 else None
    return None if isinstance(loaders, dict) else loaders

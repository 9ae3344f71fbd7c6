"""CollapseTrainerCallback: collapse in the logs of a Hugging Face Trainer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.integrations.batch_observer import BatchObserver
from neuralcollapse.integrations.evaluation_pass import measure_epoch
from neuralcollapse.integrations.missing import MissingLibrary
from neuralcollapse.integrations.recorder import CollapseRecorder, Mode
from neuralcollapse.integrations.schedules import Schedule
from neuralcollapse.measurement.feature_pass import LABEL_KEYS, Unpack, unpack_batch
from neuralcollapse.metrics.catalogue import OwnMetrics, own_metrics
from neuralcollapse.runs.record import Record

try:
    from transformers import TrainerCallback
except ModuleNotFoundError as error:
    raise MissingLibrary("CollapseTrainerCallback", "transformers", "transformers") from error


class CollapseTrainerCallback(TrainerCallback):
    """Measure collapse at the ends of epochs, and log it wherever the Trainer logs.

    Add it with ``trainer.add_callback(CollapseTrainerCallback(trainer))``. Values go through
    ``trainer.log``: so they stand in ``trainer.state.log_history``, and TensorBoard and the other
    integrations receive them. Processes are merged. Training goes on as if nothing had been
    measured.

    Parameters
    ----------
    trainer
        The trainer, whose data loaders, model and log are used.
    schedule
        ``"economy"`` (log-spaced epochs), ``"business"`` (every epoch), ``"full"`` (every class
        and the worst pairs too), a number of epochs, or a `Schedule`.
    mode
        ``"pass"``: a pass of its own over the training data, in evaluation mode. ``"batches"``:
        the training batches themselves, at no extra pass; labels must reach the model, which
        they do not under label smoothing. The network moves between these batches, so their
        spread within classes includes its drift: logged names say ``collapse_batches``.
    evaluation
        Whether to measure the trainer's ``eval_dataset`` too, if it has one.
    head
        The last linear layer or its name; found by itself if omitted.
    history
        A history.jsonl, or the folder of a run, to append records to, which plots can read.
    class_names
        One name a class; those of the model's configuration if omitted.
    unpack
        From a batch to (inputs, labels), if batches have no key of labels.
    prefix
        Of logged names.
    metrics
        Metrics of one's own, as in `measure`.

    Attributes
    ----------
    records
        One dict a measurement.
    """

    def __init__(
        self,
        trainer: Any,
        schedule: str | int | Schedule = "business",
        *,
        mode: Mode = "pass",
        evaluation: bool = True,
        head: nn.Module | str | None = None,
        history: str | Path | None = None,
        class_names: Sequence[str] | None = None,
        unpack: Unpack | None = None,
        prefix: str = "collapse",
        metrics: OwnMetrics | None = None,
    ) -> None:
        if class_names is None:
            config = getattr(trainer.model, "config", None)
            id2label = getattr(config, "id2label", None) or {}
            class_names = [id2label[k] for k in sorted(id2label)] or None
        self._trainer = trainer
        self._metrics = own_metrics(metrics)
        self._recorder = CollapseRecorder(schedule, mode, history, prefix, class_names)
        self._head, self._unpack, self._evaluation = head, unpack or unpack_batch, evaluation
        self._loaders: tuple[Iterable[Any], Iterable[Any] | None] | None = None
        self._observer = BatchObserver(trainer.model, head, metrics)
        self._hook: Any = None
        self._last: int | None = None

    @property
    def records(self) -> list[Record]:
        """The records so far."""
        return self._recorder.records

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Watch the model's calls, if this epoch is measured from its batches."""
        self._last = math.ceil(state.num_train_epochs)
        due = self._recorder.schedule.due(math.floor(state.epoch or 0) + 1, self._last)
        if self._recorder.mode == "batches" and due:
            model = self._trainer.model
            self._hook = model.register_forward_pre_hook(self._before, with_kwargs=True)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure and log, if it is due."""
        self._unhook()
        epoch = math.ceil(state.epoch)
        if not self._recorder.schedule.due(epoch, self._last):
            return
        if self._recorder.mode == "batches":
            measured = self._observer.finish()
        else:
            train, test = self._data()
            measured = measure_epoch(
                self._trainer.model,
                train,
                test,
                head=self._head,
                unpack=self._unpack,
                metrics=self._metrics,
            )
        record = self._recorder.record(measured, epoch, state.global_step, self._last)
        self._trainer.log(self._recorder.scalars(record))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the model without hooks."""
        self._unhook()

    def _before(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Attach to the head for one call of the model, if it is one of training."""
        if not model.training:
            return
        labels = next((kwargs[key] for key in LABEL_KEYS if key in kwargs), None)
        if labels is None:
            raise NeuralCollapseError(
                "labels",
                "labels among the arguments of the model",
                ", ".join(kwargs) or "none",
                "use mode='pass', which reads them from the data loader",
            )
        self._observer.open()

        def after(model: nn.Module, args: Any, output: Any) -> None:
            hook.remove()
            self._observer.close(labels)

        # Registered after those of the tap, so that it runs when they have found the head.
        hook = model.register_forward_hook(after)

    def _unhook(self) -> None:
        self._observer.discard()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _data(self) -> tuple[Iterable[Any], Iterable[Any] | None]:
        """Return loaders of our own, so that those of training keep their state."""
        if self._loaders is None:
            trainer = self._trainer
            held_out = self._evaluation and trainer.eval_dataset is not None
            self._loaders = (
                trainer.get_train_dataloader(),
                trainer.get_eval_dataloader() if held_out else None,
            )
        return self._loaders

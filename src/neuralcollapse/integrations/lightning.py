"""CollapseCallback: collapse in the logs of a Lightning Trainer."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.integrations.batch_observer import BatchObserver, refuse_unheeded
from neuralcollapse.integrations.loggers import sink
from neuralcollapse.integrations.missing import MissingLibrary
from neuralcollapse.integrations.quiet import never_ending
from neuralcollapse.integrations.watch import Loaders
from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.measurement.feature_pass import Bounded
from neuralcollapse.measurement.pass_options import PassOptions
from neuralcollapse.measurement.passes import measured_passes, rehearse
from neuralcollapse.metrics.over_ranks import one_refuses_all_refuse
from neuralcollapse.runs.record import Record
from neuralcollapse.runs.recorder import CollapseRecorder, Mode
from neuralcollapse.runs.schedule import Schedule


def _callback_classes() -> tuple[type, ...]:
    """Return the Callback class of each name under which Lightning is installed.

    It is one library under two names, and the Trainer of each accepts only its own callbacks.
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
    data, and all log the same values. Measuring does not change training.

    A callback never ends a training run: if something cannot be measured, it gives one warning and
    is quiet from then on. Batches are transferred to the device by the module's own hooks.

    Parameters
    ----------
    schedule
        ``"economy"`` (log-spaced epochs), ``"business"`` (every epoch), ``"full"`` (every class
        and the worst pairs too), a number of epochs, or a `Schedule`.
    mode
        ``"pass"``: a pass of its own over ``trainer.train_dataloader``, in evaluation mode and in
        the Trainer's precision; the module's ``forward`` must take the inputs of a batch.
        ``"batches"``: the training batches themselves, at no extra pass. The network changes
        between these, so their within-class variability includes its drift, and NC4 goes by the
        class means of the epoch before (NaN in the first): logged names say ``collapse_batches``,
        and there are no validation values.
    validation
        Whether to measure validation data too.
    loader, val_loader
        Data to measure instead of the Trainer's; validation data optionally several by name.
    history
        Folder of the run: it gets config.json, history.jsonl and snapshots of the geometry, which
        `neuralcollapse report` draws. A full disk does not end training: records then wait in
        memory.
    class_names
        One name per class; numbers if omitted.
    prefix
        Prefix of logged names.
    include
        Names of the metrics to record and log; all if omitted.
    resume, overwrite
        Whether to continue or to replace a run that is already in the folder. Without either,
        nothing is measured, with a warning.
    options
        As in `measure`: head, unpack, forward, device, scatter, feature_budget, max_batches,
        min_samples, layers, ignore_index, shift_labels, metrics.

    Attributes
    ----------
    records
        One dict per measurement, in float64; loggers get float32.
    quiet
        Whether something could not be measured.

    Notes
    -----
    A pass reads as many batches as the Trainer does (``limit_train_batches``,
    ``limit_val_batches``), and at most as many as the longest epoch so far had.

    A metric of validation data is ``test_nc1_pinv`` in the records, the page and, as
    ``collapse/test_nc1_pinv``, in the logs. Batch norm's running averages differ a little between
    processes, as they do in training: synchronise them if that matters.

    Examples
    --------
    >>> import lightning, torch
    >>> from torch import nn
    >>> from neuralcollapse.integrations import CollapseCallback
    >>> class Network(lightning.LightningModule):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layers = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    ...
    ...     def forward(self, inputs):
    ...         return self.layers(inputs)
    ...
    ...     def training_step(self, batch, index):
    ...         return nn.functional.cross_entropy(self(batch[0]), batch[1])
    ...
    ...     def configure_optimizers(self):
    ...         return torch.optim.SGD(self.parameters(), lr=0.1)
    >>> data = torch.utils.data.TensorDataset(torch.randn(30, 2), torch.arange(30) % 3)
    >>> collapse = CollapseCallback(schedule=2)  # history="runs/mine" records a report
    >>> trainer = lightning.Trainer(
    ...     accelerator="cpu", max_epochs=4, callbacks=[collapse], logger=False,
    ...     enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    ... )
    >>> trainer.fit(Network(), torch.utils.data.DataLoader(data, batch_size=10))
    >>> [record["epoch"] for record in collapse.records]
    [1, 2, 4]
    """

    def __init__(
        self,
        schedule: str | int | Schedule = "business",
        *,
        mode: Mode = "pass",
        validation: bool = True,
        loader: Iterable[Any] | None = None,
        val_loader: Loaders = None,
        history: str | Path | None = None,
        class_names: Sequence[str] | None = None,
        prefix: str = "collapse",
        include: Sequence[str] | None = None,
        resume: bool = False,
        overwrite: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self._recorder = CollapseRecorder(
            schedule, mode, history, prefix, class_names, include,
            resume=resume, overwrite=overwrite,
        )  # fmt: skip
        self._options = PassOptions.of(options, type(self), class_names=self._recorder.class_names)
        refuse_unheeded(mode, self._options, loader=loader, val_loader=val_loader)
        self._validation = validation
        self._loader, self._val_loader = loader, val_loader
        self._observer: BatchObserver | None = None
        self._epoch = self._before = self._batches = 0
        self.quiet = False

    @property
    def records(self) -> list[Record]:
        """The records so far."""
        return self._recorder.records

    def let_go(self) -> None:
        """Detach from the head."""
        if self._observer is not None:
            self._observer.discard()

    @never_ending
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin a fit, possibly a second one of another module, with a rehearsal on one batch."""
        self._observer, self._epoch, self._before, self._batches = None, 0, 0, 0
        self._recorder.optimizers = trainer.optimizers
        self._recorder.open(_config(trainer, pl_module))
        if trainer.current_epoch == 0:  # class means, if any, are of another fit
            self._before = max((record["epoch"] for record in self.records), default=0)
            self._recorder.centers = None
        if self._recorder.mode == "batches":
            self._observer = BatchObserver(pl_module, self._recorder, self._options)
            return
        rehearse(*self._data(trainer, pl_module), self._recorder.check)

    @property
    def state_key(self) -> str:
        """Key of this callback in a checkpoint, which may hold several."""
        return self._generate_state_key(
            mode=self._recorder.mode, prefix=self._recorder.prefix, validation=self._validation
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what alarms, schedule and NC4 of batches continue from."""
        return self._recorder.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint, in the folder too."""
        self._recorder.load_state_dict(state_dict)

    @never_ending
    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Attach to head and layers, if this epoch is measured from its batches."""
        self._batches = max(self._batches, batch_idx + 1)
        if self._observer is not None and self._due(trainer, trainer.current_epoch + 1):
            self._observer.open()
            self._observer.expect(batch)

    @never_ending
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the batch, if this epoch is measured from its batches."""
        if self._observer is not None:
            self._observer.close()

    @never_ending
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure and log, if the epoch is due."""
        self._epoch = trainer.current_epoch + 1
        if self._due(trainer, self._epoch):
            record = self._measure(trainer, pl_module)
            several = trainer.world_size > 1  # values agree, but Lightning must be told so
            scalars = self._recorder.scalars(record)
            pl_module.log_dict(scalars, on_step=False, on_epoch=True, sync_dist=several)

    @never_ending
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure the last epoch, if it could not be known to be the last."""
        measured = self.records[-1]["epoch"] if self.records else 0
        if self._recorder.mode == "pass" and measured < self._before + self._epoch:
            scalars = self._recorder.scalars(self._measure(trainer, pl_module))
            for logger in trainer.loggers:
                sink(logger)(scalars, trainer.global_step)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Detach from the head."""
        self.let_go()

    def _due(self, trainer: Any, epoch: int) -> bool:
        last = _last(trainer)
        return self._recorder.due(self._before + epoch, last and self._before + last)

    def _measure(self, trainer: Any, pl_module: Any) -> Record:
        observer = self._observer
        measured = self._measured(trainer, pl_module) if observer is None else observer.finish()
        step = int(trainer.global_step)
        epoch, last = self._before + self._epoch, _last(trainer)
        with one_refuses_all_refuse():
            return self._recorder.record(measured, epoch, step, last and self._before + last)

    def _data(
        self, trainer: Any, pl_module: Any, bound: float | None = None
    ) -> tuple[Any, Iterable[Any], PassOptions, Loaders]:
        """Return the first arguments of a rehearsal: network, data, options, held-out data."""
        loader = _only(trainer.train_dataloader) if self._loader is None else self._loader
        tests = self._val_loader
        if tests is None and self._validation:
            tests = _validation_loaders(trainer)
        if isinstance(tests, Mapping):
            tests = {name: _Transferred(data, pl_module) for name, data in tests.items()}
        elif tests is not None:
            tests = _Transferred(tests, pl_module)
        options = _in_precision(pl_module, self._options)
        return pl_module, _Transferred(loader, pl_module, bound), options, tests

    def _measured(self, trainer: Any, pl_module: Any) -> CollapseReport:
        bound = min(trainer.num_training_batches, self._batches) if self._loader is None else None
        module, loader, options, tests = self._data(trainer, pl_module, bound)
        return measured_passes(module, loader, tests, options, merged=True)


class _Transferred(Bounded):
    """The batches of a loader in the Trainer's precision, moved by the three hooks of a module."""

    def __init__(self, loader: Iterable[Any], module: Any, most: float | None = None) -> None:
        super().__init__(loader, most)
        self._module = module

    def __iter__(self) -> Iterator[Any]:
        module = self._module
        for batch in super().__iter__():
            batch = module.trainer.precision_plugin.convert_input(batch)
            batch = module._call_batch_hook("on_before_batch_transfer", batch, 0)
            yield module._apply_batch_transfer_handler(batch, module.device, 0)


def _in_precision(module: Any, options: PassOptions) -> PassOptions:
    """Return options with which the network alone, not its statistics, runs as in training."""
    samples = options.samples(module)
    owner = type(module).forward.__module__.partition(".")[0]
    if options.forward is None and owner in ("lightning", "pytorch_lightning"):
        got = f"{type(module).__name__}, which has no forward of its own"
        remedy = "define it, or pass forward=, such as lambda module, inputs: module.net(inputs)"
        raise NeuralCollapseError("forward", "a module that maps inputs to logits", got, remedy)

    def forward(model: nn.Module, inputs: Any) -> Any:
        with module.trainer.precision_plugin.forward_context():
            return samples.run(model, inputs)

    return replace(options, forward=forward)


def _config(trainer: Any, module: Any) -> dict[str, Any]:
    """Return the hyperparameters known to module and trainer."""
    names = ("precision", "gradient_clip_val", "accumulate_grad_batches")
    known = {"net": type(module).__name__, "epochs": _last(trainer)}
    known |= {name: getattr(trainer, name) for name in names}
    return known | dict(getattr(module, "hparams", None) or {})


def _last(trainer: Any) -> int | None:
    """Return the number of the last epoch, if it is known."""
    epochs = trainer.max_epochs
    return None if epochs is None or epochs < 1 else int(epochs)


def _only(loader: Any) -> Iterable[Any]:
    """Return the one training loader."""
    if isinstance(loader, (list, tuple)) and len(loader) == 1:
        return _only(loader[0])
    if loader is None or isinstance(loader, (list, tuple, dict)):
        got = "none" if loader is None else f"a {type(loader).__name__} of {len(loader)}"
        remedy = "pass loader=, the data to measure, or use mode='batches' with unpack="
        raise NeuralCollapseError("trainer.train_dataloader", "one training loader", got, remedy)
    return loader


def _validation_loaders(trainer: Any) -> Loaders:
    """Return the batches that the Trainer validates with, of several loaders by name or number."""
    loaders, most = trainer.val_dataloaders, trainer.num_val_batches
    if loaders is None:
        return None
    if isinstance(loaders, Mapping):
        return {name: Bounded(loaders[name], n) for name, n in zip(loaders, most, strict=True)}
    listed = loaders if isinstance(loaders, (list, tuple)) else [loaders]
    bounded = [Bounded(loader, n) for loader, n in zip(listed, most, strict=True)]
    named = {str(number): loader for number, loader in enumerate(bounded)}
    return bounded[0] if len(bounded) == 1 else named or None

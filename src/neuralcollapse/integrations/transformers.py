"""CollapseTrainerCallback: collapse in the logs of a Hugging Face Trainer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from neuralcollapse.integrations.batch_observer import BatchObserver, refuse_unheeded
from neuralcollapse.integrations.missing import MissingLibrary
from neuralcollapse.integrations.quiet import never_ending
from neuralcollapse.integrations.watch import Loaders
from neuralcollapse.measurement.batch_parts import LABEL_KEYS
from neuralcollapse.measurement.feature_pass import Bounded
from neuralcollapse.measurement.pass_options import PassOptions
from neuralcollapse.measurement.passes import measured_passes, rehearse
from neuralcollapse.metrics.over_ranks import one_refuses_all_refuse
from neuralcollapse.runs.record import Record
from neuralcollapse.runs.recorder import CollapseRecorder, Mode
from neuralcollapse.runs.schedule import Schedule

try:
    from transformers import TrainerCallback
except ModuleNotFoundError as error:
    raise MissingLibrary("CollapseTrainerCallback", "transformers", "transformers") from error


class CollapseTrainerCallback(TrainerCallback):
    """Measure collapse at the ends of epochs, and log it wherever the Trainer logs.

    Add it with ``trainer.add_callback(CollapseTrainerCallback(trainer))``. Values go through
    ``trainer.log``: so they are in ``trainer.state.log_history``, and TensorBoard and the other
    integrations receive them. Processes are merged. Measuring does not change training.

    A callback never ends a training run: if something cannot be measured, it gives one warning and
    is quiet from then on.

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
        they do not under label smoothing. The network changes between these batches, so their
        within-class variability includes its drift, and NC4 goes by the class means of the epoch
        before (NaN in the first): logged names say ``collapse_batches``, and there are no
        evaluation values.
    evaluation
        Whether to measure the trainer's ``eval_dataset`` too, if it has one or several by name.
    loader, val_loader
        Data to measure instead of the trainer's; validation data optionally several by name.
    history
        Folder of the run: it gets config.json, history.jsonl and snapshots of the geometry, which
        `neuralcollapse report` draws. A full disk does not end training: records then wait in
        memory.
    class_names
        One name per class; those of the model's configuration if omitted.
    prefix
        Prefix of logged names.
    include
        Names of the metrics to record and log; all if omitted.
    resume, overwrite
        Whether to continue or to replace a run that is already in the folder. Without either,
        nothing is measured, with a warning.
    options
        As in `measure`: head, unpack, forward, device, scatter, feature_budget, max_batches,
        min_samples, layers, ignore_index, shift_labels, metrics. Labels are looked for under the
        trainer's ``label_names`` first.

    Attributes
    ----------
    records
        One dict per measurement.
    quiet
        Whether something could not be measured.

    Notes
    -----
    With ``max_steps``, a pass reads as many batches as the longest epoch so far had. Checkpoints of
    the trainer keep the records and, of batches, the last class means, so that alarms, schedule and
    NC4 continue when training is resumed.

    Examples
    --------
    >>> import torch, transformers
    >>> from neuralcollapse.integrations import CollapseTrainerCallback
    >>> config = transformers.ViTConfig(
    ...     image_size=8, patch_size=4, num_channels=1, num_labels=2, hidden_size=8,
    ...     num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    ... )
    >>> trainer = transformers.Trainer(
    ...     transformers.ViTForImageClassification(config),
    ...     transformers.TrainingArguments(
    ...         "logs", num_train_epochs=2, report_to=[], save_strategy="no", use_cpu=True,
    ...         disable_tqdm=True, log_level="error",
    ...     ),
    ...     train_dataset=[
    ...         {"pixel_values": torch.randn(1, 8, 8), "labels": i % 2} for i in range(20)
    ...     ],
    ... )
    >>> trainer.remove_callback(transformers.PrinterCallback)
    >>> collapse = CollapseTrainerCallback(trainer)
    >>> trainer.add_callback(collapse)
    >>> _ = trainer.train()
    >>> [record["epoch"] for record in collapse.records]
    [1, 2]
    """

    def __init__(
        self,
        trainer: Any,
        schedule: str | int | Schedule = "business",
        *,
        mode: Mode = "pass",
        evaluation: bool = True,
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
        keys = [*(getattr(trainer, "label_names", None) or ()), *LABEL_KEYS]
        self._trainer, self._names = trainer, class_names
        self._recorder = CollapseRecorder(
            schedule, mode, history, prefix, class_names, include,
            resume=resume, overwrite=overwrite,
        )  # fmt: skip
        known = self._recorder.class_names
        self._options = PassOptions.of(options, type(self), label_keys=keys, class_names=known)
        refuse_unheeded(mode, self._options, loader=loader, val_loader=val_loader)
        self._loader, self._val_loader, self._evaluation = loader, val_loader, evaluation
        self._loaders: tuple[Iterable[Any], Loaders] | None = None
        self._observer: BatchObserver | None = None
        self._hook: Any = None
        self._last: int | None = None
        self._before = self._begun = self._epoch = self._batches = 0
        self.quiet = False

    @property
    def records(self) -> list[Record]:
        """The records so far."""
        return self._recorder.records

    def let_go(self) -> None:
        """Remove all hooks from the model."""
        if self._observer is not None:
            self._observer.discard()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    @never_ending
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin a training run, possibly of a new model, with a rehearsal on one batch."""
        model = self._trainer.model  # a new one in every run with `model_init`
        self._loaders, self._observer = None, None
        self._epoch = self._batches = 0
        if state.global_step and self._key in state.stateful_callbacks and not self.records:
            self._recorder.load_state_dict(state.stateful_callbacks[self._key])
        optimizer = kwargs.get("optimizer")
        self._recorder.optimizers = () if optimizer is None else (optimizer,)
        if self._names is None:
            id2label = getattr(getattr(model, "config", None), "id2label", None) or {}
            names = [id2label[k] for k in sorted(id2label)] or None
            words = getattr(model, "get_output_embeddings", lambda: None)() is not None
            # Those of another head, or of the one logit between two classes, name no class.
            self._recorder.class_names = None if words or len(id2label) < 2 else names
        self._recorder.open(args.to_dict())
        self._before = 0
        if not state.global_step:  # class means, if any, are of another run
            self._before = max((record["epoch"] for record in self.records), default=0)
            self._recorder.centers = None
        if self._recorder.mode == "batches":
            self._observer = BatchObserver(model, self._recorder, self._options)
        else:
            train, test = self._data()
            rehearse(model, train, self._options, test, self._recorder.check)

    @never_ending
    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Register a hook on the model, if this epoch is measured from its batches."""
        self._begun = state.global_step
        # Without a length, the number of epochs is the largest integer.
        self._last = self._before + min(math.ceil(state.num_train_epochs), 10**9)
        # Of a stream, whose length is not known, an epoch is a fraction of one to the state.
        self._epoch = max(self._epoch, math.floor(state.epoch or 0)) + 1
        if self._observer is not None and self._due():
            model = self._trainer.model
            self._hook = model.register_forward_pre_hook(self._hear, with_kwargs=True)

    @never_ending
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Attach to the head, if this epoch is measured from its batches."""
        if self._observer is not None and self._hook is not None:
            self._observer.open()

    @never_ending
    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add a batch whose gradient is accumulated."""
        self._add()
        self.on_step_begin(args, state, control)

    @never_ending
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add a batch."""
        self._add()

    @never_ending
    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure and log, if the epoch is due."""
        self.let_go()
        batches = (state.global_step - self._begun) * args.gradient_accumulation_steps
        self._batches = max(self._batches, batches)
        if not self._due():
            return
        if self._observer is not None:
            measured = self._observer.finish()
        else:
            train, test = self._data()
            if args.max_steps > 0 and self._loader is None:
                train = Bounded(train, self._batches)
            measured = measured_passes(self._trainer.model, train, test, self._options, merged=True)
        number = self._before + self._epoch
        with one_refuses_all_refuse():
            record = self._recorder.record(measured, number, state.global_step, self._last)
        self._trainer.log(self._recorder.scalars(record))
        # Not as an `ExportableState`: a Trainer that resumes from a checkpoint without one raises a
        # KeyError when it saves the next.
        state.stateful_callbacks[self._key] = self._recorder.state_dict()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the model without hooks."""
        self.let_go()

    @property
    def _key(self) -> str:
        """Key of the state of this callback in a checkpoint, which may hold several."""
        return f"neuralcollapse/{self._recorder.prefix}"

    def _due(self) -> bool:
        return self._recorder.due(self._before + self._epoch, self._last)

    @never_ending
    def _hear(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Note the labels of a training call."""
        keys = (key for key in self._options.label_keys if kwargs.get(key) is not None)
        key = next(keys, None)
        if self._observer is not None and module.training and key is not None:
            self._observer.expect_call(kwargs[key], kwargs)

    def _add(self) -> None:
        if self._observer is not None:
            self._observer.close()

    def _data(self) -> tuple[Iterable[Any], Loaders]:
        """Return separate loaders, so that those of training keep their state."""
        if self._loaders is None:
            trainer, held_out = self._trainer, self._val_loader
            if held_out is None and self._evaluation and trainer.eval_dataset is not None:
                if isinstance(trainer.eval_dataset, dict):
                    names = trainer.eval_dataset
                    held_out = {name: trainer.get_eval_dataloader(name) for name in names}
                else:
                    held_out = trainer.get_eval_dataloader()
            train = trainer.get_train_dataloader() if self._loader is None else self._loader
            self._loaders = train, held_out
        return self._loaders

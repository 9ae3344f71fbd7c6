"""A run in one process: train, measure, keep checkpoints."""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import Dataset

from neuralcollapse.errors import NonFiniteError
from neuralcollapse.files import reading
from neuralcollapse.runs.record import Record
from neuralcollapse.runs.recorder import CollapseRecorder
from neuralcollapse.training.batches import Batches, on_device
from neuralcollapse.training.checkpoints import Checkpoint
from neuralcollapse.training.epochs import Epoch, prepared, train_epoch
from neuralcollapse.training.execution import Execution, execution_of
from neuralcollapse.training.measuring import RunMeasurement
from neuralcollapse.training.network_and_data import network_and_data
from neuralcollapse.training.optimizer import build_optimizer
from neuralcollapse.training.plan import RunPlan
from neuralcollapse.training.progress import showing


class TrainingRun:
    """A run in one process."""

    def __init__(self, fabric: Fabric, plan: RunPlan) -> None:
        self.fabric, self.plan, self.config = fabric, plan, plan.config
        self.model, train, test, names = network_and_data(plan.config, plan.model, plan.data)
        if any(parameter.is_shared() for parameter in self.model.parameters()):
            self.model = copy.deepcopy(self.model)  # spawned processes would train the same memory
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        # Once for training and measuring.
        train, test = (on_device(part, fabric.device) for part in (train, test))
        fabric.to_device(self.model)
        if fabric.is_global_zero:
            self.measurement = RunMeasurement(
                self.model, train, test, fabric.device, plan.layers, plan.workers, names
            )
        self.execution: Execution = fabric.broadcast(self._execution(train))
        self.execution.lay_out(self.model)
        forward: Any = torch.compile(self.model) if plan.compile else self.model
        optimizer = build_optimizer(self.model, plan.config)
        self.forward, self.optimizer = prepared(forward, optimizer, fabric)
        self.batches = Batches(
            train, plan.config.batch_size, plan.config.seed, fabric, plan.workers
        )
        self.batches.require_normalizable(self.model)
        self.recorder = CollapseRecorder()
        self.recorder.optimizers = (self.optimizer,)
        self.records: list[Record] = []
        self.epoch, self.seconds = 0, 0.0
        self.saved_at, self.saved_epoch = time.perf_counter(), 0

    def _execution(self, train: Dataset) -> Execution:
        """Return how to carry the run out: as it was begun, if it is continued."""
        begun = self.plan.folder.execution() if self.plan.resume else None
        if begun is not None and self.config.precision == "auto":
            return begun
        return execution_of(self.config, self.model, train, self.plan.channels_last)

    def bytes_to_write(self) -> int:
        """Return what the run takes at most: the old checkpoint, the new one, and the weights."""
        state = sum(tensor.nbytes for tensor in self.model.state_dict().values())
        return 5 * state + 2**20

    def restore(self, checkpoint: Checkpoint | None) -> None:
        """Go back to a checkpoint, to the beginning if there is none."""
        if checkpoint is None:
            return
        remedy = "build the network as it was, or start again with overwrite"
        with reading("resume", "a checkpoint of the same network", remedy):
            self.model.load_state_dict(checkpoint.model)
            self.optimizer.load_state_dict(checkpoint.optimizer)
            if checkpoint.streaks:
                self.recorder.streaks.load_state_dict(checkpoint.streaks)
        self.epoch = self.saved_epoch = checkpoint.epoch
        self.seconds = checkpoint.seconds
        if self.fabric.is_global_zero:
            self.records = self.plan.folder.records()

    def train(self) -> list[Record]:
        """Train to the end, with the threads of the trial if there was one."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self.execution.threads)
        try:
            return self._train()
        finally:
            torch.set_num_threads(threads)

    def _train(self) -> list[Record]:
        start = time.perf_counter() - self.seconds
        last = self.config.epochs
        with showing(last, self.plan.progress and self.fabric.is_global_zero) as show:
            show(self.epoch, self.records)
            if self.epoch == 0 and self.fabric.is_global_zero:
                self._save(0.0)  # so that no record is ever without a checkpoint before it
            while self.epoch < last:
                try:
                    epoch = train_epoch(
                        self.epoch + 1, self.forward, self.optimizer, self.batches, self.config,
                        self.fabric, self.execution,
                    )  # fmt: skip
                    save = self._save_is_due(epoch.number)
                    measure = self.plan.measuring.due(epoch.number, last)
                    if save or measure:
                        self._require_finite_weights(epoch)
                    if measure and self.fabric.is_global_zero:
                        self._measure(epoch, time.perf_counter() - start)
                except NonFiniteError as error:
                    raise self._with_checkpoint(error) from None
                self.epoch = epoch.number
                if save and self.fabric.is_global_zero:
                    self._save(time.perf_counter() - start)
                show(self.epoch, self.records)
            if self.fabric.is_global_zero:
                self.plan.folder.finish(self.model.state_dict())
        return self.fabric.broadcast(self.records)

    def _measure(self, epoch: Epoch, seconds: float) -> None:
        values = self.measurement.record()
        report, last = self.measurement.report, self.config.epochs
        self.recorder.records = self.records
        made = {"seconds": seconds, "lr": epoch.lr, "train_loss": epoch.loss, **values}
        record = self.recorder.made(report, epoch.number, epoch.step, last, **made)
        if self.recorder.keeps_geometry(epoch.number, last):
            before = report.before if epoch.number == last else None
            self.plan.folder.keep_geometry(epoch.number, report, before)
        self.plan.folder.append(record)
        self.records.append(record)

    def _save_is_due(self, epoch: int) -> bool:
        every, waited = self.plan.checkpoint_every, time.perf_counter() - self.saved_at
        due = epoch == self.config.epochs or waited >= self.plan.checkpoint_seconds
        return self.fabric.broadcast(due or (every is not None and epoch % every == 0))

    def _save(self, seconds: float) -> None:
        self.plan.folder.save(
            Checkpoint(
                self.epoch,
                seconds,
                self.plan.folder.history_bytes(),
                self.model.state_dict(),
                self.optimizer.state_dict(),
                self.recorder.streaks.state_dict(),
            )
        )
        self.saved_at, self.saved_epoch = time.perf_counter(), self.epoch

    def _require_finite_weights(self, epoch: Epoch) -> None:
        """Refuse to measure or to keep what a last bad step of an epoch has left."""
        tensors = (t for t in self.model.state_dict().values() if t.is_floating_point())
        if not bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all()):
            got = f"NaN or infinity after step {epoch.step} (epoch {epoch.number})"
            remedy = f"lower the learning rate, now {epoch.lr:g}"
            raise NonFiniteError("weights", "finite weights", got, remedy)

    def _with_checkpoint(self, error: NonFiniteError) -> NonFiniteError:
        kept = f"; the checkpoint of epoch {self.saved_epoch} stays in {self.plan.folder.path}"
        remedy = error.remedy + (kept if self.saved_epoch else "; there is no checkpoint yet")
        return NonFiniteError(error.argument, error.expected, error.got, remedy)

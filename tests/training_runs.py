"""What the tests of training share: a tiny run, and processes that can be killed."""

import math
import multiprocessing
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from neuralcollapse.runs import read_history
from neuralcollapse.training import TrainConfig, train
from ranks import server

TINY = TrainConfig(width=0.125, epochs=3, per_class=20, batch_size=50, lr=0.05)


def plain_network(input_shape, num_classes):
    """A perceptron without batch norm."""
    size = math.prod(input_shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, num_classes))


def without_seconds(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def quiet(config, out, **options):
    """Train without a progress bar on one thread of the CPU."""
    torch.set_num_threads(1)
    return train(config, out, progress=False, accelerator="cpu", **options)


def apart(config, out, **options):
    """Train to the end in a process of its own, and return the records."""
    with running(quiet, config, out, **options) as process:
        process.join()
        assert process.exitcode == 0
    return read_history(out)


def killed_at_touch(config, out, nth, **options):
    """Train, and be killed as the n-th file of the run is about to be opened, moved or removed."""
    touched = 0

    def touch(event, arguments):
        nonlocal touched
        if event in ("open", "os.rename", "os.remove") and str(arguments[0]).startswith(str(out)):
            touched += 1
            if touched == nth:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(touch)
    quiet(config, out, **options)


def stopping_in_write(config, out, marker, nth, part, **options):
    """Train, and stand still in the n-th write of a whole file when a part of it is written."""
    write, count = os.fsync, 0

    def fsync(descriptor):
        nonlocal count
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if name.endswith("checkpoint.pt"):
            count += 1
            if count == nth:
                os.truncate(name, int(part * os.path.getsize(name)))
                Path(marker).touch()
                multiprocessing.parent_process().join()  # which kills this one before
        write(descriptor)

    os.fsync = fsync
    quiet(config, out, **options)


@contextmanager
def running(target, *arguments, **options):
    """Run a function in a process of its own, and kill it when the block ends."""
    process = server.Process(target=target, args=arguments, kwargs=options)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def wait_for(condition, process):
    """Wait until a condition holds, or the process has ended, however long that takes."""
    while not condition() and process.is_alive():
        process.join(0.002)

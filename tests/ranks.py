"""Processes that work together, forked from a server that has imported once what they need.

They are not forked from the test's own process, whose autograd threads would not survive.
"""

import multiprocessing
import os
import socket
import tempfile
from datetime import timedelta

import torch
import torch.distributed as dist

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(
    ["neuralcollapse.training.trainer", "neuralcollapse.metrics.presets", "transformers"]
)


def together(target, world, *arguments):
    """Call target(rank, world, *arguments) in processes of one gloo group, and wait for all."""
    with tempfile.TemporaryDirectory() as folder:
        launched(_in_group, world, f"file://{folder}/store", target, *arguments)


def launched(target, world, *arguments):
    """Call target(rank, world, *arguments) in processes that know of each other as torchrun's do.

    Whoever needs the group (Lightning, Accelerate) then opens it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(
        _with_environment,
        (world, port, target, *arguments),
        nprocs=world,
        start_method="forkserver",
    )


def _with_environment(rank, world, port, target, *arguments):
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in (names | address).items()}
    torch.set_num_threads(1)
    target(rank, world, *arguments)


def _in_group(rank, world, store, target, *arguments):
    dist.init_process_group(
        "gloo", init_method=store, rank=rank, world_size=world, timeout=timedelta(seconds=300)
    )
    target(rank, world, *arguments)
    dist.destroy_process_group()

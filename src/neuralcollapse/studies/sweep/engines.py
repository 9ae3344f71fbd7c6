"""Where the runs of a sweep are worked on: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from joblib import parallel_config

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import check_choice

ENGINES = ("processes", "ray")


@contextmanager
def engine(
    name: str, workers: int | None = None, address: str | None = None, gpus_per_run: float = 0
) -> Iterator[int]:
    """Let joblib send its work to an engine inside the block, and yield how many run at once.

    Parameters
    ----------
    name
        ``"processes"`` or ``"ray"``.
    workers
        Runs at once; all cores of the machine or of the cluster if omitted.
    address
        Of a Ray cluster (``"auto"``: the one that ``ray start --head`` began here). If omitted, a
        cluster of this machine alone is started, and stopped at the end of the block.
    gpus_per_run
        With Ray: GPUs that a run takes; parts of one are possible.

    Yields
    ------
    int
        Runs at once.

    Raises
    ------
    NeuralCollapseError
        If the engine is unknown, Ray is not installed or its cluster not reached, or an option
        does not go with the engine.
    """
    check_choice("engine", name, ENGINES)
    if workers is not None and workers < 1:
        raise NeuralCollapseError("workers", "at least 1", str(workers), "leave it out for all")
    if name == "processes":
        if address is not None or gpus_per_run:
            given = "address" if address is not None else "gpus_per_run"
            raise NeuralCollapseError(given, "the engine ray", name, "pass engine='ray'")
        count = workers or len(os.sched_getaffinity(0))
        with parallel_config("loky", n_jobs=count):
            yield count
        return
    with (
        _ray_cluster(workers, address) as count,
        parallel_config(
            "ray", n_jobs=count, ray_remote_args={"num_cpus": 1, "num_gpus": gpus_per_run}
        ),
    ):
        yield count


@contextmanager
def _ray_cluster(workers: int | None, address: str | None) -> Iterator[int]:
    """Join a Ray cluster, the caller's if they are in one; yield how many runs it takes."""
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise NeuralCollapseError(
            "engine", "Ray to be installed", str(error), "pip install 'neuralcollapse[ray]'"
        ) from error
    joined = ray.is_initialized()
    if not joined:
        try:
            _knock(address)
            ray.init(
                address=address,
                num_cpus=workers if address is None else None,
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (OSError, ValueError) as error:  # nobody there, or no address
            raise NeuralCollapseError(
                "address", "a running Ray cluster", str(error), "start one: ray start --head"
            ) from error
    register_ray()
    try:
        yield workers or int(ray.cluster_resources()["CPU"])
    finally:
        if not joined:
            ray.shutdown()


def _knock(address: str | None) -> None:
    """Raise OSError if nobody listens at host:port, where Ray itself would wait for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()

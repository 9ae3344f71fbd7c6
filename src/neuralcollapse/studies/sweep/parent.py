"""Workers end with the process that started them, also if that was killed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 1.0  # between two looks


@contextmanager
def ending_with(parent: int | None) -> Iterator[None]:
    """End this process at once if its parent has ended, before the block or during it.

    Joblib's processes are children of the sweep, and a POSIX system gives them another parent when
    the sweep ends. On Windows, and in Ray's workers, whose parent is Ray, nothing changes: Ray ends
    them itself. A run that was ended in this way resumes from its last checkpoint.

    Parameters
    ----------
    parent
        Process number of the sweep; nothing is watched if None, or in that process itself.
    """
    if parent is None or parent == os.getpid() or os.name == "nt":
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while os.getppid() == parent:
            if over.wait(SECONDS):
                return
        os._exit(1)

    watcher = threading.Thread(target=watch, name="parent-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()

"""What the processes of the tests' pool begin with."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Begin to watch the process that made the pool: when it is killed, nobody would tell this one to end."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

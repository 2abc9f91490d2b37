"""Where this process keeps what is for the moment only: nothing of it outlives the process."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX = "web-"


def use_own_directory(root: Path) -> Path:
    """Have all temporary files made in a new directory under `root`, on the disk of the photos.

    What processes that are no more left there is removed. A process that lives holds a lock on its
    directory, which ends with it however it ends.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One at a time: another that starts would find a new directory before it is held.
    starting = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(starting, fcntl.LOCK_EX)
        _remove_left(root)
        directory = tempfile.mkdtemp(prefix=PREFIX, dir=root)
        # Held, and not closed, until the process ends.
        fcntl.flock(os.open(directory, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(starting)
    tempfile.tempdir = directory
    return Path(directory)


def _remove_left(root: Path) -> None:
    for left in root.glob(f"{PREFIX}*"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)

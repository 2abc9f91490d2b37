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
    for left in root.glob(f"{PREFIX}*"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)
    directory = tempfile.mkdtemp(prefix=PREFIX, dir=root)
    # Held, and not closed, until the process ends.
    fcntl.flock(os.open(directory, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    tempfile.tempdir = directory
    return Path(directory)

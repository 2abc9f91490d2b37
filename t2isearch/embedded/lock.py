"""One start at a time for each `VAR_DIR`."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a lock, and where its web server listens."""

    pid: int
    address: str


class AlreadyRunningError(Exception):
    """Another process holds the lock; `owner` is None where it has not said who it is yet."""

    def __init__(self, owner: Owner | None) -> None:
        super().__init__(owner)
        self.owner = owner


@contextmanager
def exclusive_lock(path: Path, *, address: str) -> Iterator[None]:
    """Hold the lock at `path`. The kernel lets go of it however this process ends.

    Raises:
        AlreadyRunningError: another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(_read_owner(descriptor)) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(asdict(Owner(os.getpid(), address))).encode())
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def lock_owner(path: Path) -> Owner | None:
    """Who holds the lock at `path`; None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_owner(descriptor)
    finally:
        os.close(descriptor)
    return None


def _read_owner(descriptor: int) -> Owner | None:
    try:
        return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None

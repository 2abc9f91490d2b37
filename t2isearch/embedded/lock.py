"""One start at a time for each `VAR_DIR`."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from t2isearch.files import discard


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
def exclusive_lock(path: Path, *, address: str) -> Iterator[Callable[[], None]]:
    """Hold the lock at `path`. The kernel lets go of it however this process ends.

    Yields what is to be called now and then: it mends a file that was damaged or removed meanwhile,
    so that others find the owner.

    Raises:
        AlreadyRunningError: another process holds it.
    """
    owner = json.dumps(asdict(Owner(os.getpid(), address))).encode()
    descriptors = [_take(path, owner)]

    def renew() -> None:
        try:
            is_there = os.path.samestat(path.lstat(), os.fstat(descriptors[-1]))
        except FileNotFoundError:
            is_there = False
        if not is_there:
            descriptors.append(_take(path, owner))
        elif os.pread(descriptors[-1], 4096, 0) != owner:
            _write(descriptors[-1], owner)

    try:
        try:
            yield renew
        finally:
            _write(descriptors[-1], b"")
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _take(path: Path, owner: bytes) -> int:
    if path.is_dir():
        discard(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        found = _read_owner(descriptor)
        os.close(descriptor)
        raise AlreadyRunningError(found) from None
    _write(descriptor, owner)
    return descriptor


def _write(descriptor: int, content: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content, 0)


def lock_owner(path: Path) -> Owner | None:
    """Who holds the lock at `path`; None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
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

"""Files in the storage, and what it means when that does not work.

A storage that is away, full or refuses says nothing about a photo: whatever it raises becomes a
`StorageUnavailable` here, for requests to answer with and for workers to try again after.
"""

from __future__ import annotations

import errno
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.files.storage import FileSystemStorage, default_storage
from django.http import UnreadablePostError

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1024 * 1024
# No room, no quota or no inode left; the last is what a limit on a file's size says.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What is the machine's fault wherever it is said, and not that of what was asked.
_MACHINE = _FULL | {
    errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE,
    errno.ENOMEM,
}  # fmt: skip


class StorageUnavailable(Exception):
    """Files can't be written or read right now. It says nothing about the file."""


class StorageFull(StorageUnavailable):
    """There is no room left for files."""


def outage_of(error: BaseException) -> StorageUnavailable | None:
    """What `error` says about the storage, wherever it was raised; None where it says nothing."""
    if isinstance(error, StorageUnavailable):
        return error
    if isinstance(error, OSError) and not isinstance(error, UnreadablePostError):
        return _fault(error) if error.errno in _MACHINE else None
    return _fault(error)


@contextmanager
def storage_faults(*, may_be_gone: bool = False) -> Iterator[None]:
    """Raise StorageUnavailable for whatever goes wrong with files in this block.

    With `may_be_gone` a file that is not there stays a FileNotFoundError.
    """
    try:
        yield
    except Exception as error:
        if may_be_gone and isinstance(error, FileNotFoundError):
            raise
        if (fault := _fault(error)) is None:
            raise
        raise fault from error


def _fault(error: BaseException) -> StorageUnavailable | None:
    # Those of a bucket are named by it: nothing of S3 is loaded where there is none.
    if not isinstance(error, (OSError, *getattr(default_storage, "faults", ()))):
        return None
    response = getattr(error, "response", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    is_full = getattr(error, "errno", None) in _FULL or status == HTTPStatus.INSUFFICIENT_STORAGE
    return (StorageFull if is_full else StorageUnavailable)(f"{type(error).__name__}: {error}")


def store_file(name: str, content: File[Any]) -> str:
    """Store `content` under `name`, which nothing has yet, and return the name it got.

    A write that fails midway may leave a part of the file: see `gallery.provisional`.

    Raises:
        StorageUnavailable
    """
    with storage_faults():
        return default_storage.save(name, content, max_length=200)


def read_file(name: str) -> bytes:
    """The whole file.

    Raises:
        FileNotFoundError: it is gone.
        StorageUnavailable: also where nothing at all is there, as without the volume.
    """
    try:
        return b"".join(_chunks(name))
    except FileNotFoundError as error:
        if _is_empty():
            raise StorageUnavailable("the folder of the files is empty") from error
        raise


def sha256_of(name: str) -> str:
    """The SHA-256 of a stored file, in hexadecimal; empty where the file is gone.

    Raises:
        StorageUnavailable
    """
    digest = hashlib.sha256()
    try:
        for chunk in _chunks(name):
            digest.update(chunk)
    except FileNotFoundError:
        return ""
    return digest.hexdigest()


def is_stored(name: str) -> bool:
    """Whether the file is there and not empty. Raises StorageUnavailable."""
    try:
        with storage_faults(may_be_gone=True):
            return default_storage.size(name) > 0
    except FileNotFoundError:
        return False


def _chunks(name: str) -> Iterator[bytes]:
    with storage_faults(may_be_gone=True), default_storage.open(name, "rb") as file:
        yield from file.chunks(_CHUNK_BYTES)


def _is_empty() -> bool:
    """Whether the folder of all files has nothing in it, which no deletion makes of it."""
    if not isinstance(default_storage, FileSystemStorage):
        return False
    try:
        return next(Path(default_storage.location).iterdir(), None) is None
    except OSError:
        return True


def remove_file(name: str) -> bool:
    """Remove what turned out not to be needed; whether that worked."""
    try:
        default_storage.delete(name)
    except Exception:
        logger.exception("%s can't be removed now", name)
        return False
    return True

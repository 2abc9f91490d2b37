"""Uploads that can be resumed: a file comes in piece by piece, over any number of requests.

Its bytes lie in a file of their own under `UPLOADS_ROOT`, how many there are says the row. Both
change together, a block at a time, with the row locked; nothing is locked while a block is on its
way, so a connection that hangs keeps nobody from going on over another one. What a killed process
wrote beyond the row's offset is cut off by the next block. The last block and what becomes of the
whole file are one transaction: there is no complete upload of which nothing is known.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Protocol
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.files import File
from django.db import OperationalError, transaction
from django.db.models import Count, Sum
from django.utils import timezone
from psycopg.errors import LockNotAvailable

from accounts.models import User
from gallery.models import PartialUpload
from gallery.services import AddedPhoto, add_photo, check_quota, clean_filename
from gallery.storage import remove_file
from gallery.validators import RejectedUpload, check_size

logger = logging.getLogger(__name__)

LIFETIME = timedelta(hours=24)
MOST_UNFINISHED = 100
# What a broken connection or a killed process costs at most.
BLOCK_BYTES = 1024 * 1024
REMOVED_AT_ONCE = 100
CHECKSUM_ALGORITHMS = ("sha1", "sha256")


class TooManyUnfinished(Exception):
    """Some have to be finished or cancelled first."""


class OffsetConflict(Exception):
    """The bytes that were sent don't follow those that are there."""


class UploadBusy(Exception):
    """Another request is writing at this moment."""


class ChecksumMismatch(Exception):
    """The bytes that came in are not those that were sent. None of them are kept."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a piece of a file should hash to: one of `CHECKSUM_ALGORITHMS` and the digest."""

    algorithm: str
    digest: bytes


def start_upload(*, owner: User, length: int, filename: str, metadata: str = "") -> PartialUpload:
    """Make room for a file of `length` bytes.

    Raises:
        RejectedUpload: it is empty or too large, or there is no room for it beside what is stored
            and what is coming in already.
        TooManyUnfinished: the owner has `MOST_UNFINISHED` uploads that are not complete.
    """
    check_size(length)
    with transaction.atomic():
        # One of a person at a time, so that the sums are exact.
        get_user_model().objects.select_for_update().get(pk=owner.pk)
        unfinished = PartialUpload.objects.owned_by(owner).receiving()
        coming = unfinished.aggregate(count=Count("pk"), size_bytes=Sum("length", default=0))
        if coming["count"] >= MOST_UNFINISHED:
            raise TooManyUnfinished
        check_quota(owner, coming["size_bytes"] + length)
        now = timezone.now()
        return PartialUpload.objects.create(
            owner=owner,
            length=length,
            filename=clean_filename(filename),
            metadata=metadata,
            created_at=now,
            expires_at=now + LIFETIME,
        )


def offset_of(upload: PartialUpload) -> int:
    """How many bytes are there.

    As many as the row says, unless the file lost some: in a power cut, or by being put back from a
    backup, which unfinished uploads are not part of.
    """
    if upload.state != PartialUpload.State.RECEIVING:
        return upload.offset
    try:
        return min(upload.offset, _path(upload.pk).stat().st_size)
    except FileNotFoundError:
        return 0


def append(
    upload: PartialUpload, *, at: int, body: Readable, checksum: Checksum | None = None
) -> PartialUpload:
    """Add what `body` gives, from the offset `at` on; returns the upload as it is then.

    Without a checksum every block counts as soon as it is there, also when the rest never comes.
    The last one makes the file a photo of the owner, or has it refused: see `state`.

    Raises:
        OffsetConflict: it has to go on at another offset.
        UploadBusy: another request is writing at this moment.
        ChecksumMismatch: none of the bytes are kept.
        PartialUpload.DoesNotExist: it was cancelled meanwhile.
    """
    if at != offset_of(upload):
        raise OffsetConflict
    with _verified(body, checksum) as source:
        while at < upload.length and (block := source.read(min(BLOCK_BYTES, upload.length - at))):
            upload = _add_block(upload.pk, at, block)
            at += len(block)
    return upload


@contextmanager
def _verified(body: Readable, checksum: Checksum | None) -> Iterator[Readable]:
    """`body`, read and compared with the checksum first if there is one."""
    if checksum is None:
        yield body
        return
    digest = hashlib.new(checksum.algorithm, usedforsecurity=False)
    with tempfile.SpooledTemporaryFile(max_size=BLOCK_BYTES) as kept:
        while block := body.read(BLOCK_BYTES):
            digest.update(block)
            kept.write(block)
        if digest.digest() != checksum.digest:
            raise ChecksumMismatch
        kept.seek(0)
        yield kept


def _add_block(key: UUID, at: int, block: bytes) -> PartialUpload:
    added: AddedPhoto | None = None
    try:
        with transaction.atomic():
            upload = _locked(key, at=at)
            _write(_path(key), at, block)
            upload.offset = at + len(block)
            if upload.offset == upload.length:
                added = _finish(upload)
            upload.save()
    except BaseException:
        # As in `add_photo`: no file in the storage without its row.
        if added is not None and not added.duplicate:
            remove_file(str(added.photo.original.name))
        raise
    return upload


def _locked(key: UUID, *, at: int) -> PartialUpload:
    """The upload, which goes on at the offset `at` and is nobody else's for the transaction."""
    try:
        upload = PartialUpload.objects.select_for_update(nowait=True).get(pk=key)
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise UploadBusy from error
        raise
    if upload.state != PartialUpload.State.RECEIVING or at != offset_of(upload):
        raise OffsetConflict
    return upload


def _write(path: Path, at: int, block: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        file.truncate(at)
        file.seek(at)
        file.write(block)
        file.flush()
        # The row, committed next, must not outlive the bytes that it speaks of.
        os.fdatasync(file.fileno())


def _finish(upload: PartialUpload) -> AddedPhoto | None:
    """Make the complete file a photo, or note why it is none. The bytes go once that is stored."""
    remove_bytes_on_commit(upload.pk)
    try:
        with _path(upload.pk).open("rb") as content:
            file = File(content, name=upload.filename)
            added = add_photo(owner=upload.owner, file=file, filename=upload.filename)
    except RejectedUpload as rejected:
        upload.state = PartialUpload.State.REJECTED
        upload.error = " ".join(rejected.messages)[:300]
        return None
    upload.state = PartialUpload.State.ADDED
    upload.photo, upload.duplicate = added.photo, added.duplicate
    return added


def cancel_upload(upload: PartialUpload) -> None:
    """Forget an upload and remove its bytes. A photo that it became stays."""
    upload.delete()


def remove_expired() -> int:
    """Remove uploads whose time is up and files that belong to none; returns how many uploads."""
    removed = 0
    while True:
        with transaction.atomic():
            due = PartialUpload.objects.expired().select_for_update(skip_locked=True)
            keys = list(due.values_list("pk", flat=True)[:REMOVED_AT_ONCE])
            PartialUpload.objects.filter(pk__in=keys).delete()
        removed += len(keys)
        if len(keys) < REMOVED_AT_ONCE:
            break
    _remove_left_behind()
    return removed


def _remove_left_behind() -> None:
    """A process that ended between committing and removing left a file.

    The files are listed first: a file is made after its row.
    """
    files = dict(_files())
    wanted = PartialUpload.objects.receiving().filter(pk__in=files)
    for key in files.keys() - set(wanted.values_list("pk", flat=True)):
        _remove_bytes(key)


def _files() -> Iterator[tuple[UUID, Path]]:
    with suppress(FileNotFoundError):
        for path in settings.UPLOADS_ROOT.iterdir():
            with suppress(ValueError):
                yield UUID(path.name), path


def remove_bytes_on_commit(key: UUID) -> None:
    """Remove the file of an upload once the current transaction has committed."""
    transaction.on_commit(partial(_remove_bytes, key), robust=True)


def _remove_bytes(key: UUID) -> None:
    try:
        _path(key).unlink(missing_ok=True)
    except OSError:
        logger.exception("the bytes of upload %s can't be removed", key)


def _path(key: UUID) -> Path:
    root: Path = settings.UPLOADS_ROOT
    return root / key.hex

"""Uploads that can be resumed: a file comes in piece by piece, over any number of requests.

Its bytes lie in a file of their own under `UPLOADS_ROOT`, how many there are says the row. Both
change together, a block at a time, with the row locked; nothing is locked while a block is on its
way, so a connection that hangs keeps nobody from going on over another one. What a killed process
wrote beyond the row's offset is cut off by the next block.

With the last block the upload is complete and waits to be finished, which is leased work
(`t2isearch.leases`): the request that brought the block does it right away. Where that ends with
its process, or the storage or the decoders are away, a worker or the client's next request does it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
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
from django.db.models import Count, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _
from psycopg.errors import LockNotAvailable

from accounts.models import User
from gallery.models import PartialUpload
from gallery.processing import GAVE_UP
from gallery.services import AddedPhoto, add_photo, check_quota, clean_filename
from gallery.storage import StorageUnavailable, outage_of, storage_faults
from gallery.validators import NotDecodedNow, RejectedUpload, check_size
from t2isearch.leases import Outages, backoff, claim, exhausted

logger = logging.getLogger(__name__)

LIFETIME = timedelta(hours=24)
MOST_UNFINISHED = 100
# What a broken connection or a killed process costs at most.
BLOCK_BYTES = 1024 * 1024
REMOVED_AT_ONCE = 100
CHECKSUM_ALGORITHMS = ("sha1", "sha256")

_outages = Outages()


class TooManyUnfinished(Exception):
    """Some have to be finished or cancelled first."""


class _DecidedAlready(Exception):
    """Another process has finished the upload meanwhile."""


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
        unfinished = PartialUpload.objects.owned_by(owner).undecided()
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
        UploadBusy: another request is writing at this moment, or finishing it.
        ChecksumMismatch: none of the bytes are kept.
        NotDecodedNow, StorageUnavailable: what has come in counts; it can go on later.
        PartialUpload.DoesNotExist: it was cancelled meanwhile.
    """
    if at != offset_of(upload):
        raise OffsetConflict
    if upload.state == PartialUpload.State.FINISHING:
        return finish(upload)
    with _verified(body, checksum) as source:
        while at < upload.length and (block := source.read(min(BLOCK_BYTES, upload.length - at))):
            upload = _add_block(upload.pk, at, block)
            at += len(block)
    return _finish(upload) if upload.state == PartialUpload.State.FINISHING else upload


@contextmanager
def _verified(body: Readable, checksum: Checksum | None) -> Iterator[Readable]:
    """`body`, read and compared with the checksum first if there is one."""
    if checksum is None:
        yield body
        return
    digest = hashlib.new(checksum.algorithm, usedforsecurity=False)
    kept = tempfile.SpooledTemporaryFile(max_size=BLOCK_BYTES)  # noqa: SIM115 - closed below
    try:
        while block := body.read(BLOCK_BYTES):
            digest.update(block)
            with storage_faults():
                kept.write(block)
        if digest.digest() != checksum.digest:
            raise ChecksumMismatch
        with storage_faults():
            kept.seek(0)
        yield kept
    finally:
        with suppress(OSError):  # of bytes that can't be written, once more
            kept.close()


def _add_block(key: UUID, at: int, block: bytes) -> PartialUpload:
    with transaction.atomic():
        upload = _locked(key, at=at)
        with storage_faults():
            _write(_path(key), at, block)
        upload.offset = at + len(block)
        if upload.offset == upload.length:
            # Leased to who has brought the last byte.
            upload.state = PartialUpload.State.FINISHING
            upload.attempts, upload.due_at = 1, timezone.now() + settings.WORK_LEASE
        upload.save()
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


def finish(upload: PartialUpload) -> PartialUpload:
    """Make a complete upload a photo, or note why it is none; returns it as it is then.

    Raises:
        UploadBusy: another process is doing that.
        NotDecodedNow, StorageUnavailable: not now.
        PartialUpload.DoesNotExist: it was cancelled meanwhile.
    """
    free = Q(attempts=0) | Q(due_at__lte=timezone.now())  # put off, or its lease has ended
    with transaction.atomic():
        finishing = PartialUpload.objects.finishing().filter(free, pk=upload.pk)
        leased = finishing.select_for_update(skip_locked=True, of=("self",)).first()
        if leased is not None:
            leased.attempts += 1
            leased.due_at = timezone.now() + settings.WORK_LEASE
            leased.save(update_fields=["attempts", "due_at"])
    if leased is not None:
        return _finish(leased)
    upload.refresh_from_db()
    if upload.state == PartialUpload.State.FINISHING:
        raise UploadBusy
    return upload


def _finish(upload: PartialUpload) -> PartialUpload:
    """As `finish`, of an upload that is leased to this process."""
    try:
        with _content(upload) as file:
            add_photo(
                owner=upload.owner,
                file=file,
                filename=upload.filename,
                record=partial(_decide, upload),
            )
    except RejectedUpload as rejected:
        _refuse(upload, " ".join(rejected.messages))
    except FileNotFoundError:
        # Lost in a power cut, or not part of a backup: they have to be sent again.
        PartialUpload.objects.finishing().filter(pk=upload.pk).update(
            state=PartialUpload.State.RECEIVING, offset=0
        )
    except _DecidedAlready:
        pass
    except get_user_model().DoesNotExist as error:
        raise PartialUpload.DoesNotExist from error
    except Exception as error:
        if _is_outage(error):
            _outages.put_off(upload)
        raise
    else:
        _outages.over(upload)
    upload.refresh_from_db()
    return upload


def _is_outage(error: Exception) -> bool:
    return isinstance(error, NotDecodedNow) or outage_of(error) is not None


@contextmanager
def _content(upload: PartialUpload) -> Iterator[File[bytes]]:
    """The bytes of a complete upload.

    Raises:
        FileNotFoundError: they are not there, or not all of them.
        StorageUnavailable: the folder of all of them is not there.
    """
    with storage_faults(may_be_gone=True):
        if not settings.UPLOADS_ROOT.is_dir():
            raise StorageUnavailable(f"{settings.UPLOADS_ROOT} is not there")
        content = _path(upload.pk).open("rb")
    with content:
        file = File(content, name=upload.filename)
        if file.size != upload.length:
            raise FileNotFoundError
        yield file


def _decide(upload: PartialUpload, added: AddedPhoto | None = None, *, error: str = "") -> None:
    """Note what became of an upload, in the transaction in which that is so.

    Raises:
        _DecidedAlready: somebody else was quicker: roll it back.
        PartialUpload.DoesNotExist: it was cancelled.
    """
    row = PartialUpload.objects.select_for_update().get(pk=upload.pk)
    if row.state != PartialUpload.State.FINISHING:
        raise _DecidedAlready
    if added is None:
        row.state, row.error = PartialUpload.State.REJECTED, error[:300]
    else:
        row.state = PartialUpload.State.ADDED
        row.photo, row.duplicate = added.photo, added.duplicate
    row.save()
    remove_bytes_on_commit(upload.pk)


def _refuse(upload: PartialUpload, reason: str) -> None:
    """Raises PartialUpload.DoesNotExist."""
    with suppress(_DecidedAlready), transaction.atomic():
        _decide(upload, error=reason)


def uploads_wait() -> bool:
    """Whether a complete upload waits for being finished right now."""
    return PartialUpload.objects.finishing().filter(due_at__lte=timezone.now()).exists()


def finish_due_uploads(*, for_seconds: float) -> bool:
    """Finish uploads that who sent them did not, one after the other, for about `for_seconds`.

    Returns whether the time ran out first, so that there may be more to do.
    """
    deadline = time.monotonic() + for_seconds
    while time.monotonic() < deadline:
        claimed = claim(PartialUpload.objects.finishing(), limit=1)
        if not claimed:
            return False
        [upload] = claimed
        try:
            if upload.attempts > settings.WORK_MAX_ATTEMPTS:  # it ended its process each time
                _refuse(upload, _(GAVE_UP))
            else:
                _finish(upload)
        except PartialUpload.DoesNotExist:
            continue
        except Exception as error:
            if _is_outage(error):
                logger.warning("upload %s waits: %r", upload.pk, error)
                return False
            logger.exception("upload %s: attempt %s failed", upload.pk, upload.attempts)
            if exhausted(upload):
                _refuse(upload, _(GAVE_UP))
            else:
                PartialUpload.objects.finishing().filter(pk=upload.pk).update(
                    due_at=timezone.now() + backoff(upload.attempts)
                )
    return True


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
    wanted = PartialUpload.objects.undecided().filter(pk__in=files)
    for key in files.keys() - set(wanted.values_list("pk", flat=True)):
        _remove_bytes(key)


def _files() -> Iterator[tuple[UUID, Path]]:
    with suppress(FileNotFoundError):
        for path in settings.UPLOADS_ROOT.iterdir():
            with suppress(ValueError):
                yield UUID(path.name), path


def remove_bytes_on_commit(key: UUID) -> None:
    """Remove the file of an upload once the current transaction has committed."""
    transaction.on_commit(lambda: _remove_bytes(key), robust=True)


def _remove_bytes(key: UUID) -> None:
    try:
        _path(key).unlink(missing_ok=True)
    except OSError:
        logger.exception("the bytes of upload %s can't be removed", key)


def _path(key: UUID) -> Path:
    root: Path = settings.UPLOADS_ROOT
    return root / key.hex

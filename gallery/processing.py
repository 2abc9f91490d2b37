"""Renders photos that wait for it. Safe to run any number of times and at once."""

from __future__ import annotations

import hashlib
import io
import logging
import time
from contextlib import suppress
from datetime import timedelta
from math import inf

from django.conf import settings
from django.core.files.base import ContentFile
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models import DateTimeField, F, Q, Value
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_noop

from gallery.decoding.problems import BadPicture, Problem
from gallery.decoding.service import DecodersKilled, DecoderUnavailable, render
from gallery.models import DiscardedFile, Photo, rendition_path
from gallery.provisional import provisional
from gallery.querysets import PhotoQuerySet
from gallery.removal import removing_files
from gallery.renditions import Renditions
from gallery.signals import announce, photo_ready
from gallery.storage import outage_of, read_file, remove_file, store_file
from t2isearch.leases import Outages, backoff, claim, exhausted, give_back

logger = logging.getLogger(__name__)

MISSING = gettext_noop("The stored original is gone. Upload the photo again to restore it.")
DAMAGED = gettext_noop("The stored original is damaged. Upload the photo again to repair it.")
UNREADABLE = gettext_noop("The picture can't be decoded.")
TOO_SLOW = gettext_noop("The picture takes too long to decode.")
TOO_MUCH_MEMORY = gettext_noop("The picture needs too much memory to decode.")
GAVE_UP = gettext_noop("The picture could not be processed, although it was tried several times.")
_outages = Outages()
# Given up as well: the worker that held it last may have been frozen only, and be through now.
_UNDECIDED = Q(state=Photo.State.PROCESSING) | Q(state=Photo.State.FAILED, error=GAVE_UP)
# Between two looks whether a backup still runs.
BACKUP_PAUSE = timedelta(seconds=30)
REASONS = {Problem.TOO_SLOW: TOO_SLOW, Problem.TOO_MUCH_MEMORY: TOO_MUCH_MEMORY}


class OriginalDamaged(Exception):
    """The storage gives other bytes than were uploaded."""


def photos_wait() -> bool:
    """Whether a photo waits for a worker right now."""
    return _waiting().filter(due_at__lte=timezone.now()).exists()


def _waiting() -> PhotoQuerySet:
    return Photo.objects.filter(
        state=Photo.State.PROCESSING, attempts__lt=settings.WORK_MAX_ATTEMPTS
    )


def process_due_photos(*, for_seconds: float) -> bool:
    """Render waiting photos, one after the other, for about `for_seconds`.

    Returns whether the time ran out first, so that there may be more to do. What they need (the
    storage, a decoder, the database) may be away: then it ends, and the sweep begins again.
    """
    deadline = time.monotonic() + for_seconds
    while time.monotonic() < deadline:
        photos = claim(_waiting(), limit=1)
        if not photos or not process_photo(photos[0]):
            return False
    return True


def process_photo(photo: Photo) -> bool:
    """Render one claimed photo and record what came of it.

    Returns whether others can be rendered now. Where not, that counts for none of its attempts.
    """
    try:
        # Read whole before it is decoded, so that a storage that stalls is not taken for a picture
        # that is damaged.
        original = _read_original(photo)
        _store(photo, render(io.BytesIO(original)))
    except FileNotFoundError:
        _fail(photo, MISSING)
    except OriginalDamaged:
        _fail(photo, DAMAGED)
    except BadPicture as bad:
        logger.info("photo %s can't be decoded: %s", photo.pk, bad)
        # It would be the same another time. Who thinks otherwise has the Retry button.
        _fail(photo, REASONS.get(bad.problem, UNREADABLE))
    except Exception as error:
        if _is_outage(error):
            logger.warning("photo %s waits: %r", photo.pk, error)
            _put_off(photo)
            return isinstance(error, DecoderUnavailable)  # another photo may find one
        # A bug must not stop the other photos.
        logger.exception("photo %s: attempt %s failed", photo.pk, photo.attempts)
        if exhausted(photo):
            _fail(photo, GAVE_UP)
        else:
            # The next sweep after the pause wakes a worker for it.
            Photo.objects.filter(pk=photo.pk, state=Photo.State.PROCESSING).update(
                due_at=timezone.now() + backoff(photo.attempts)
            )
    else:
        _outages.over(photo)
    return True


def _is_outage(error: Exception) -> bool:
    if isinstance(error, DecodersKilled):
        return False  # it may be the photo that takes the memory of the machine
    away = isinstance(error, DecoderUnavailable | OperationalError | InterfaceError)
    return away or outage_of(error) is not None


def _put_off(photo: Photo) -> None:
    # Where the database is what is away, the lease ends by itself.
    with suppress(DatabaseError, InterfaceError):
        if not connection.atomic_blocks:
            connection.close_if_unusable_or_obsolete()
        _outages.put_off(photo)


def render_again(photo: Photo) -> bool:
    """Make the renditions and facts of a ready photo anew, as this version makes them.

    Its vectors stay. Returns whether it was done: not where the photo was deleted or rendered
    meanwhile, or its original is gone.

    Raises:
        OriginalDamaged, BadPicture, DecoderUnavailable, StorageUnavailable: what was there stays.
    """
    try:
        original = _read_original(photo)
    except FileNotFoundError:
        return False
    return _store(photo, render(io.BytesIO(original)), again=True)


def _read_original(photo: Photo) -> bytes:
    """Raises FileNotFoundError, OriginalDamaged, StorageUnavailable."""
    content = read_file(str(photo.original.name))
    if hashlib.sha256(content).hexdigest() != photo.sha256:
        raise OriginalDamaged(DAMAGED)
    return content


def _store(photo: Photo, renditions: Renditions, *, again: bool = False) -> bool:
    """Whether the renditions were recorded as the photo's."""
    thumbnail, preview = rendition_path(photo, "512.jpg"), rendition_path(photo, "1600.jpg")
    with provisional(thumbnail, preview) as files:
        store_file(thumbnail, ContentFile(renditions.thumbnail))
        store_file(preview, ContentFile(renditions.preview))
        metadata = renditions.metadata
        with transaction.atomic():
            # Only the one who still finds it as it was may record it: the photo may have been
            # deleted, mended or rendered by another worker meanwhile.
            waits = Q(state=Photo.State.READY) if again else _UNDECIDED
            as_it_was = {"original": photo.original.name, "thumbnail": photo.thumbnail.name}
            recorded = Photo.objects.filter(waits, pk=photo.pk, **as_it_was).update(
                state=Photo.State.READY,
                error="",
                thumbnail=thumbnail,
                thumbnail_width=renditions.thumbnail_size[0],
                thumbnail_height=renditions.thumbnail_size[1],
                preview=preview,
                placeholder=renditions.placeholder,
                # What the owner said meanwhile counts for more.
                taken_at=Coalesce(F("taken_at"), Value(metadata.taken_at, DateTimeField())),
                camera=metadata.camera,
                lens=metadata.lens,
                f_number=metadata.f_number,
                exposure_time_s=metadata.exposure_time_s,
                iso=metadata.iso,
                focal_length_mm=metadata.focal_length_mm,
                latitude=metadata.latitude,
                longitude=metadata.longitude,
            )
            if recorded:
                files.keep()
                DiscardedFile.objects.bulk_create(
                    DiscardedFile(name=str(old.name))
                    for old in (photo.thumbnail, photo.preview)
                    if old
                )
                if not again:
                    announce(photo_ready, photo)
    return bool(recorded)


def _fail(photo: Photo, reason: str) -> None:
    # Unless the original is another one meanwhile: see `services.add_photo`.
    Photo.objects.filter(
        pk=photo.pk, original=photo.original.name, state=Photo.State.PROCESSING
    ).update(state=Photo.State.FAILED, error=reason)


def fail_abandoned_photos() -> int:
    """Fail the photos whose last attempt ended with the worker itself; returns how many."""
    return Photo.objects.filter(
        state=Photo.State.PROCESSING,
        due_at__lte=timezone.now(),
        attempts__gte=settings.WORK_MAX_ATTEMPTS,
    ).update(state=Photo.State.FAILED, error=GAVE_UP)


def discarded_files_wait() -> bool:
    """Whether a file of a photo that is gone waits for being removed right now."""
    return DiscardedFile.objects.filter(due_at__lte=timezone.now()).exists()


def remove_discarded_files(*, for_seconds: float = inf) -> int:
    """Delete the files of photos that are gone; returns how many. What fails is tried again.

    While a backup runs, all of them wait for its end.
    """
    deadline = time.monotonic() + for_seconds
    removed = 0
    while time.monotonic() < deadline and (files := claim(DiscardedFile.objects.all(), limit=20)):
        with removing_files() as allowed:
            if not allowed:
                give_back(files, after=BACKUP_PAUSE)
                return removed
            gone = [file.pk for file in files if _removed(file)]
            DiscardedFile.objects.filter(pk__in=gone).delete()
        removed += len(gone)
    return removed


def _removed(file: DiscardedFile) -> bool:
    if remove_file(file.name):
        return True
    DiscardedFile.objects.filter(pk=file.pk).update(due_at=timezone.now() + backoff(file.attempts))
    return False

"""Renders photos that wait for it. Safe to run any number of times and at once."""

from __future__ import annotations

import io
import logging
import time
from math import inf

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import DateTimeField, F, Value
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_noop

from gallery.decoding.problems import BadPicture, Problem
from gallery.decoding.service import render
from gallery.models import DiscardedFile, Photo, rendition_path
from gallery.provisional import drop, keep, note_provisional
from gallery.querysets import PhotoQuerySet
from gallery.renditions import Renditions
from gallery.signals import announce, photo_ready
from gallery.storage import store_file
from t2isearch.leases import backoff, claim, exhausted

logger = logging.getLogger(__name__)

MISSING = gettext_noop("The stored original is gone.")
UNREADABLE = gettext_noop("The picture can't be decoded.")
TOO_SLOW = gettext_noop("The picture takes too long to decode.")
TOO_MUCH_MEMORY = gettext_noop("The picture needs too much memory to decode.")
GAVE_UP = gettext_noop("The picture could not be processed, although it was tried several times.")
REASONS = {Problem.TOO_SLOW: TOO_SLOW, Problem.TOO_MUCH_MEMORY: TOO_MUCH_MEMORY}


def photos_wait() -> bool:
    """Whether a photo waits for a worker right now."""
    return _waiting().filter(due_at__lte=timezone.now()).exists()


def _waiting() -> PhotoQuerySet:
    return Photo.objects.filter(
        state=Photo.State.PROCESSING, attempts__lt=settings.WORK_MAX_ATTEMPTS
    )


def process_due_photos(*, for_seconds: float) -> bool:
    """Render waiting photos, one after the other, for about `for_seconds`.

    Returns whether the time ran out first, so that there may be more to do.
    """
    deadline = time.monotonic() + for_seconds
    while time.monotonic() < deadline:
        photos = claim(_waiting(), limit=1)
        if not photos:
            return False
        process_photo(photos[0])
    return True


def process_photo(photo: Photo) -> None:
    """Render one claimed photo and record what came of it."""
    try:
        # Read whole before it is decoded, so that a storage that stalls is not taken for a picture
        # that is damaged.
        original = _read_original(photo)
        if original is None:
            _fail(photo, MISSING)
        else:
            _store(photo, render(io.BytesIO(original)))
    except BadPicture as bad:
        logger.info("photo %s can't be decoded: %s", photo.pk, bad)
        # It would be the same another time. Who thinks otherwise has the Retry button.
        _fail(photo, REASONS.get(bad.problem, UNREADABLE))
    except Exception:
        # Storage or database trouble may pass; a bug must not stop the other photos.
        logger.exception("photo %s: attempt %s failed", photo.pk, photo.attempts)
        if exhausted(photo):
            _fail(photo, GAVE_UP)
        else:
            # The next sweep after the pause wakes a worker for it.
            Photo.objects.filter(pk=photo.pk, state=Photo.State.PROCESSING).update(
                due_at=timezone.now() + backoff(photo.attempts)
            )


def render_again(photo: Photo) -> bool:
    """Make the renditions and facts of a ready photo anew, as this version makes them.

    Its vectors stay. Returns whether it was done: not where the photo was deleted or rendered
    meanwhile, or its original is gone.

    Raises:
        BadPicture, DecoderUnavailable: what was there stays.
    """
    original = _read_original(photo)
    return original is not None and _store(photo, render(io.BytesIO(original)), again=True)


def _read_original(photo: Photo) -> bytes | None:
    """The bytes of the original; None when it is gone."""
    try:
        with photo.original.open("rb") as original:
            content: bytes = original.read()
    except FileNotFoundError:
        return None
    return content


def _store(photo: Photo, renditions: Renditions, *, again: bool = False) -> bool:
    """Whether the renditions were recorded as the photo's."""
    thumbnail, preview = rendition_path(photo, "512.jpg"), rendition_path(photo, "1600.jpg")
    names = (thumbnail, preview)
    note_provisional(names)
    try:
        store_file(thumbnail, ContentFile(renditions.thumbnail))
        store_file(preview, ContentFile(renditions.preview))
        metadata = renditions.metadata
        with transaction.atomic():
            # Only the one who still finds it as it was may record it: the photo may have been
            # deleted or rendered by another worker meanwhile.
            as_it_was = (
                {"state": Photo.State.READY, "thumbnail": photo.thumbnail.name}
                if again
                else {"state": Photo.State.PROCESSING}
            )
            recorded = Photo.objects.filter(pk=photo.pk, **as_it_was).update(
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
                keep(names)
                if again:
                    DiscardedFile.objects.bulk_create(
                        DiscardedFile(name=str(old.name))
                        for old in (photo.thumbnail, photo.preview)
                    )
                else:
                    announce(photo_ready, photo)
    except BaseException:
        drop(names)
        raise
    if not recorded:
        drop(names)
    return bool(recorded)


def _fail(photo: Photo, reason: str) -> None:
    Photo.objects.filter(pk=photo.pk, state=Photo.State.PROCESSING).update(
        state=Photo.State.FAILED, error=reason
    )


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
    """Delete the files of photos that are gone; returns how many. What fails is tried again."""
    deadline = time.monotonic() + for_seconds
    removed = 0
    while time.monotonic() < deadline and (files := claim(DiscardedFile.objects.all(), limit=20)):
        for file in files:
            try:
                default_storage.delete(file.name)
            except Exception:
                logger.exception("a discarded file can't be removed yet")
                DiscardedFile.objects.filter(pk=file.pk).update(
                    due_at=timezone.now() + backoff(file.attempts)
                )
            else:
                file.delete()
                removed += 1
    return removed

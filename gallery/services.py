"""What can be done with photos."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.core.files import File
from django.db import transaction
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from gallery.models import DiscardedFile, Photo, original_path
from gallery.provisional import drop, keep, note_provisional
from gallery.querysets import PhotoQuerySet
from gallery.signals import announce, photo_ready, photo_retried, photos_retried
from gallery.storage import store_file
from gallery.tasks import remove_discarded_files, render_photos
from gallery.validators import RejectedUpload, check_picture, check_size
from t2isearch.dispatch import wake
from t2isearch.leases import Priority

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AddedPhoto:
    """The photo, and whether the owner had these very bytes already."""

    photo: Photo
    duplicate: bool


def add_photo(
    *,
    owner: User,
    file: File[bytes],
    filename: str,
    priority: Priority = Priority.PERSON,
) -> AddedPhoto:
    """Take a picture into `owner`'s gallery and wake the workers.

    The file is stored before the row is written, and removed again when the row can't be: a row
    never points at a file that is not there.

    Raises:
        RejectedUpload: it is no picture, damaged, too large, or over the owner's quota.
    """
    check_size(file.size)
    sha256 = _sha256(file)
    if (known := owner.photos.for_display().filter(sha256=sha256).first()) is not None:
        return AddedPhoto(_out_of_trash(known), duplicate=True)
    facts = check_picture(file)
    check_quota(owner, file.size)  # before the bytes are copied; once more, locked, below

    photo = Photo(
        owner=owner,
        sha256=sha256,
        filename=clean_filename(filename),
        media_type=facts.media_type,
        size_bytes=file.size,
        width=facts.width,
        height=facts.height,
        priority=priority,
    )
    file.seek(0)
    photo.original = stored = original_path(photo, filename)
    note_provisional([stored])
    try:
        store_file(stored, file)
        with transaction.atomic():
            # One upload of a person at a time from here, so that quota and duplicates are exact.
            get_user_model().objects.select_for_update().get(pk=owner.pk)
            known = owner.photos.for_display().filter(sha256=sha256).first()
            if known is None:
                check_quota(owner, photo.size_bytes)
                # In the order of the keys, whoever uploads several at once.
                photo.created_at = timezone.now()
                photo.save()
                keep([stored])
                wake(render_photos)
    except BaseException:
        drop([stored])
        raise
    if known is not None:
        drop([stored])
        return AddedPhoto(_out_of_trash(known), duplicate=True)
    return AddedPhoto(photo, duplicate=False)


def known_photos(*, owner: User, sha256s: Iterable[str]) -> list[Photo]:
    """The photos of `owner`, those in the trash as well, that have one of these hashes."""
    wanted = {sha256.lower() for sha256 in sha256s}
    return list(Photo.objects.kept_by(owner).filter(sha256__in=wanted).order_by("pk"))


def _out_of_trash(photo: Photo) -> Photo:
    """Who uploads a photo again wants to see it."""
    if photo.trashed_at is not None:
        photo.trashed_at = None
        photo.save(update_fields=["trashed_at"])
    return photo


def _sha256(file: File[bytes]) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def check_quota(owner: User, more_bytes: int) -> None:
    """Raises RejectedUpload when `owner` may not store as many bytes more."""
    limit = owner.storage_limit
    if limit is not None and owner.photos.size_bytes() + more_bytes > limit:
        raise RejectedUpload(
            _("There is no room left for it: you may store %(limit)s.")
            % {"limit": filesizeformat(limit)},
            code="over_quota",
        )


def clean_filename(name: str) -> str:
    """The last part of a path as a person would read it: no folders, no control characters."""
    base = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    printable = "".join(character for character in base if character.isprintable()).strip()
    return printable[-255:] or _("photo")


def change_photo(photo: Photo, *, filename: str | None = None, **changes: object) -> Photo:
    """Change what the owner may change: `filename`, `taken_at`, `caption` and `is_favourite`.

    Raises:
        Photo.DoesNotExist: it was deleted meanwhile.
    """
    fields = dict(changes)
    if filename is not None:
        fields["filename"] = clean_filename(filename)
    with transaction.atomic():
        # Locked, so that a worker either sees the change or has its result seen here.
        state = Photo.objects.select_for_update().values_list("state", flat=True).get(pk=photo.pk)
        for name, value in fields.items():
            setattr(photo, name, value)
        photo.save(update_fields=list(fields))
        if "taken_at" in fields and state == Photo.State.READY:
            announce(photo_ready, photo)
    return photo


def set_favourite(*, owner: User, photo_ids: Iterable[int], favourite: bool) -> int:
    """Make photos of `owner` favourites, or no longer; returns how many they are."""
    photos = Photo.objects.owned_by(owner).filter(pk__in=list(photo_ids))
    return photos.update(is_favourite=favourite)


def retry_photo(photo: Photo) -> None:
    """Try again whatever failed: the renditions here, the rest by whoever listens."""
    with transaction.atomic():
        restarted = retry_renditions(Photo.objects.filter(pk=photo.pk))
        if not restarted and photo.state == Photo.State.READY:
            announce(photo_retried, photo)


def retry_failed(*, owner: User) -> int:
    """Try again whatever failed of all of `owner`'s photos; returns of how many something did."""
    with transaction.atomic():
        restarted = retry_renditions(Photo.objects.owned_by(owner))
        answers = photos_retried.send(sender=Photo, owner_id=owner.pk)
    return restarted + sum(int(count or 0) for _listener, count in answers)


def retry_renditions(photos: PhotoQuerySet, *, priority: Priority = Priority.PERSON) -> int:
    """Try again to render those of `photos` of which that failed; returns how many."""
    with transaction.atomic():
        restarted = photos.filter(state=Photo.State.FAILED).update(
            state=Photo.State.PROCESSING,
            error="",
            attempts=0,
            due_at=timezone.now(),
            priority=priority,
        )
        if restarted:
            wake(render_photos)
    return restarted


def discard_files(names: Iterable[str | None]) -> None:
    """Have stored files removed that no photo points at any more."""
    with transaction.atomic():
        DiscardedFile.objects.bulk_create(
            [DiscardedFile(name=name) for name in names if name], ignore_conflicts=True
        )
        wake(remove_discarded_files)

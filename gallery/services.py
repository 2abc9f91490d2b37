"""What can be done with photos."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.core.files import File
from django.db import transaction
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from gallery.models import DiscardedFile, Photo, original_path
from gallery.provisional import provisional
from gallery.querysets import PhotoQuerySet
from gallery.signals import announce, photo_ready, photo_retried, photos_retried
from gallery.storage import is_stored, sha256_of, store_file
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
    record: Callable[[AddedPhoto], None] = lambda _added: None,
) -> AddedPhoto:
    """Take a picture into `owner`'s gallery and wake the workers.

    The file is stored before the row is written, and removed again when the row can't be: a row
    never points at a file that is not there. Where the owner has these bytes already, they mend
    what was lost or damaged of that photo. `record` is called in the transaction that writes it.

    Raises:
        RejectedUpload: it is no picture, damaged, too large, or over the owner's quota.
        NotDecodedNow, StorageUnavailable: it may be taken in another time.
    """
    check_size(file.size)
    sha256 = _sha256(file)
    same = owner.photos.for_display().filter(sha256=sha256)
    if (known := same.first()) and (again := _add_again(known, file, record)):
        return again
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
    photo.original = stored = original_path(photo, filename)
    with provisional(stored) as files:
        file.seek(0)
        store_file(stored, file)
        with transaction.atomic():
            # One upload of a person at a time from here, so that quota and duplicates are exact.
            get_user_model().objects.select_for_update().get(pk=owner.pk)
            known = same.first()
            if known is None:
                check_quota(owner, photo.size_bytes)
                # In the order of the keys, whoever uploads several at once.
                photo.created_at = timezone.now()
                photo.save()
                files.keep()
                wake(render_photos)
                added = AddedPhoto(photo, duplicate=False)
            else:
                Photo.objects.filter(pk=known.pk).update(trashed_at=None)
                added = AddedPhoto(same.get(), duplicate=True)
            record(added)
    return added


def _add_again(
    known: Photo, file: File[bytes], record: Callable[[AddedPhoto], None]
) -> AddedPhoto | None:
    """The photo that has the bytes of `file` already, out of the trash and whole again.

    None where it was deleted meanwhile.
    """
    is_damaged = sha256_of(str(known.original.name)) != known.sha256
    # What was made of a damaged original may be damaged as well.
    is_whole = not is_damaged and not known.problem and _has_renditions(known)
    stored = [original_path(known, known.filename)] if is_damaged else []
    with provisional(*stored) as files:
        for name in stored:
            logger.warning("photo %s: the original was lost or damaged, it is mended", known.pk)
            file.seek(0)
            store_file(name, file)
        with transaction.atomic():
            same = Photo.objects.for_display().filter(pk=known.pk)
            photo = same.select_for_update(of=("self",)).first()
            if photo is None:
                return None
            # Who uploads a photo again wants to see it.
            photo.trashed_at = None
            if stored and photo.original.name == known.original.name:
                files.keep()
                discard_files([known.original.name])
                [photo.original] = stored
            if not is_whole:
                photo.state, photo.error = Photo.State.PROCESSING, ""
                photo.attempts, photo.due_at = 0, timezone.now()
                wake(render_photos)
            photo.save(
                update_fields=["trashed_at", "original", "state", "error", "attempts", "due_at"]
            )
            added = AddedPhoto(photo, duplicate=True)
            record(added)
    return added


def _has_renditions(photo: Photo) -> bool:
    """Whether its renditions are there, or are still to be made."""
    if photo.state == Photo.State.PROCESSING:
        return True
    return all(is_stored(str(each.name)) for each in (photo.thumbnail, photo.preview))


def known_photos(*, owner: User, sha256s: Iterable[str]) -> list[Photo]:
    """The photos of `owner`, those in the trash as well, that have one of these hashes."""
    wanted = {sha256.lower() for sha256 in sha256s}
    return list(Photo.objects.kept_by(owner).filter(sha256__in=wanted).order_by("pk"))


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
    return photos.update_in_turn(is_favourite=favourite)


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
        restarted = photos.filter(state=Photo.State.FAILED).update_in_turn(
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

"""The trash: photos stay in it for `TRASH_DAYS` days, and can be taken out again.

In the trash a photo is nowhere to be seen but there: `PhotoQuerySet.owned_by` leaves it out. Its
files and whatever else was made from it are kept, so that it comes back as it was. A photo whose
time is up is gone for its owner at once, and deleted by `gallery.tasks.purge_trash`: also a whole
trash that is emptied is so a matter of one statement, not of a request that takes minutes.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from gallery.models import Album, Photo
from gallery.querysets import PhotoQuerySet, trash_cutoff
from gallery.tasks import purge_trash as purge_trash_task
from t2isearch.dispatch import wake

PURGED_AT_ONCE = 50


def move_to_trash(*, owner: User, photo_ids: Iterable[int]) -> int:
    """Put photos of `owner` into the trash; returns how many."""
    photos = Photo.objects.owned_by(owner).filter(pk__in=list(photo_ids))
    return photos.update_in_turn(trashed_at=timezone.now())


def ensure_trashed(*, owner: User, photo_ids: Collection[int]) -> set[int]:
    """As `move_to_trash`; returns which of them are in the trash now, whoever put them there."""
    move_to_trash(owner=owner, photo_ids=photo_ids)
    return set(
        Photo.objects.trashed_of(owner).filter(pk__in=photo_ids).values_list("pk", flat=True)
    )


def restore(*, owner: User, photo_ids: Iterable[int]) -> int:
    """Take photos of `owner` out of the trash; returns how many."""
    photos = Photo.objects.trashed_of(owner).filter(pk__in=list(photo_ids))
    return photos.update_in_turn(trashed_at=None)


def delete_for_good(*, owner: User, photo_ids: Iterable[int]) -> int:
    """Delete photos that are in the trash of `owner`; returns how many. See the module's text."""
    return _give_up(Photo.objects.trashed_of(owner).filter(pk__in=list(photo_ids)))


def empty_trash(*, owner: User) -> int:
    """Delete all that is in the trash of `owner`; returns how many photos."""
    return _give_up(Photo.objects.trashed_of(owner))


def delete_at_once(photo: Photo) -> None:
    """Delete a photo that is not in the trash for good.

    Raises:
        Photo.DoesNotExist: it was deleted meanwhile.
    """
    with transaction.atomic():
        _lock_albums_shown_by([photo.pk])
        Photo.objects.select_for_update().get(pk=photo.pk).delete()


def _lock_albums_shown_by(photo_ids: Collection[int]) -> None:
    """Before photos are deleted, which are covers: the order of `t2isearch.conflicts`."""
    albums = Album.objects.filter(cover__in=photo_ids).order_by("pk")
    list(albums.select_for_update().values_list("pk"))


def _give_up(photos: PhotoQuerySet) -> int:
    with transaction.atomic():
        count = photos.update_in_turn(trashed_at=trash_cutoff())
        wake(purge_trash_task)
    return count


def purge_due_photos(*, for_seconds: float) -> bool:
    """Delete photos whose time in the trash is up, a few in each transaction.

    Returns whether the time ran out first, so that there may be more to do.
    """
    deadline = time.monotonic() + for_seconds
    while time.monotonic() < deadline:
        with transaction.atomic():
            photos = Photo.objects.due_for_purge().order_by("trashed_at", "pk")
            chosen = list(photos.values_list("pk", flat=True)[:PURGED_AT_ONCE])
            _lock_albums_shown_by(chosen)
            # Locked, so that one that is uploaded again meanwhile (which takes it out of the trash)
            # is either seen here or gone there.
            due = list(
                photos.filter(pk__in=chosen)
                .select_for_update(skip_locked=True, of=("self",))
                .values_list("pk", flat=True)
            )
            if not due:  # or others are at them
                return False
            Photo.objects.filter(pk__in=due).delete()
    return True


def trash_period() -> timedelta:
    """How long a photo stays in the trash."""
    return timedelta(days=settings.TRASH_DAYS)

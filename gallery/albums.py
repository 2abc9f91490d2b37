"""What can be done with albums. An album only ever takes in photos of its owner.

What changes an album raises `Album.DoesNotExist` where it was deleted meanwhile. Rows are locked in
the order of `t2isearch.conflicts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from gallery.models import Album, AlbumPhoto, Photo
from t2isearch.conflicts import is_taken


def clean_title(title: str) -> str:
    """A title on one line, without control characters.

    Raises:
        ValidationError: nothing is left of it, or it is too long.
    """
    cleaned = " ".join("".join(c if c.isprintable() else " " for c in title).split())
    longest = Album._meta.get_field("title").max_length or 0
    if not cleaned:
        raise ValidationError(_("An album needs a title."), code="required")
    if len(cleaned) > longest:
        raise ValidationError(
            _("A title has at most %(most)d characters.") % {"most": longest}, code="max_length"
        )
    return cleaned


def create_album(*, owner: User, title: str) -> Album:
    """Make an empty album.

    Raises:
        ValidationError: the title is empty or too long, or there is an album of that title.
    """
    cleaned = clean_title(title)
    with _title_once():
        return Album.objects.create(owner=owner, title=cleaned)


def rename_album(album: Album, *, title: str) -> Album:
    """Give it another title.

    Raises:
        ValidationError: as for `create_album`.
    """
    cleaned = clean_title(title)
    with _title_once():
        _change(album, title=cleaned)
    return album


def delete_album(album: Album) -> None:
    """Delete an album; its photos stay."""
    with transaction.atomic():
        _lock(album)
        album.delete()


def add_to_album(album: Album, *, photo_ids: Iterable[int]) -> int:
    """Put photos into the album; returns how many were not in it before.

    Whatever is not a photo of the album's owner, or is in the trash, is left out.
    """
    wanted = Photo.objects.owned_by(album.owner).filter(pk__in=list(photo_ids))
    with transaction.atomic():
        # Locked, so that two that add at once count each photo once, and none goes meanwhile.
        _lock(album)
        missing = (
            wanted.exclude(albumphoto__album=album)
            .order_by("pk")
            .select_for_update(no_key=True)
            .values_list("pk", flat=True)
        )
        added = AlbumPhoto.objects.bulk_create(
            [AlbumPhoto(album=album, photo_id=pk) for pk in missing], ignore_conflicts=True
        )
        _change(album)
    return len(added)


def remove_from_album(album: Album, *, photo_ids: Iterable[int]) -> int:
    """Take photos out of the album; they stay in the gallery. Returns how many were in it."""
    with transaction.atomic():
        _lock(album)
        removed, _by_model = AlbumPhoto.objects.filter(
            album=album, photo_id__in=list(photo_ids)
        ).delete()
        _change(album)
    return removed


def choose_cover(album: Album, *, photo: Photo) -> None:
    """Show the album by this photo of it.

    Raises:
        ValidationError: the photo is not in the album.
    """
    own = Photo.objects.owned_by(album.owner)
    with transaction.atomic():
        _lock(album)
        inside = own.in_album(album).filter(pk=photo.pk)
        if not inside.select_for_update(no_key=True, of=("self",)).exists():
            raise ValidationError(
                _("The cover has to be a photo of the album."), code="not_in_album"
            )
        _change(album, cover=photo)


@contextmanager
def _title_once() -> Iterator[None]:
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if not is_taken(error):
            raise
        raise ValidationError(
            _("You have an album of this title already."), code="unique"
        ) from error


def _lock(album: Album) -> None:
    Album.objects.select_for_update().get(pk=album.pk)


def _change(album: Album, **changes: Any) -> None:
    """Write `changes`, and that there were some. Never `save`: it would bring back what is gone."""
    changes["updated_at"] = timezone.now()
    if not Album.objects.filter(pk=album.pk).update(**changes):
        raise Album.DoesNotExist
    for name, value in changes.items():
        setattr(album, name, value)
